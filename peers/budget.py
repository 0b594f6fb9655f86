"""A budget of memory is all that an owner has to say: which model keeps it, and how good it is.

A peer takes the best of those that fit, by what was measured (``worth.py``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from p2prec.collaboration.methods import METHODS, build_method, families_of, sessions_held
from p2prec.collaboration.parameters import AVERAGING
from p2prec.data.catalogue import Catalogue
from p2prec.embeddings.narrow import Narrow
from p2prec.embeddings.table import full_bytes
from p2prec.embeddings.tables import TABLES, compressions_of
from p2prec.errors import ConfigError
from p2prec.models.families import FAMILIES, check_model, check_model_of, model_of
from p2prec.training.combinations import check_family
from p2prec.training.config import LearnerConfig, ModelConfig
from p2prec.training.given_up import tells
from p2prec.training.on_device import most_bytes
from peers.amounts import parse_bytes
from peers.config import PeerConfig
from peers.worth import Expected, apart, guide, says, worth

_ALIKE = 0.01  # of NDCG@10: less than chance could do, so that the cheapest to learn is taken
# A table that could be compact is not taken as large as a full one.
_FORMS: Final = [
    (table, c) for table in TABLES for c in compressions_of(table) if table == "full" or c > 1
]
_OWN_ITEMS = 2_048  # of an owner's long life; what it hears of is bounded by its method


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A model that a budget may choose.

    Attributes:
        model: Its settings.
        n_bytes: The most that it can take.
        guide: The nearest that was measured of the same recommender and table.
    """

    model: ModelConfig
    n_bytes: int
    guide: Expected | None

    @property
    def known(self) -> bool:
        """Whether the guide says what the model is worth."""
        return self.guide is not None and says(self.guide, self.model)


def within_budget(catalogue: Catalogue, learner: LearnerConfig, budget: int) -> LearnerConfig:
    """The settings with the best model that keeps a budget, whatever is learned.

    All are considered that can be built of this catalogue for the owner's task, but none that
    would tell neighbours what the protection hides. The family is the owner's where the settings
    name another one than the default. What was measured goes by its quality; of those that cannot
    be told apart the one whose own compression was measured, and then the one that costs least to
    learn. Sizes that were not measured come behind, those nearest to a measured one first.

    Args:
        catalogue: The realm's items.
        learner: The owner's settings.
        budget: Bytes.

    Raises:
        ConfigError: Nothing is as small; says what the smallest is, and how small. Or the family
            cannot learn the task.
    """
    wanted = learner.model
    if wanted.family != ModelConfig().family:
        sizes = FAMILIES[wanted.family].sizes if wanted.family in FAMILIES else (0,)
        check_model(family=wanted.family, embedding_size=sizes[0], task=wanted.task)
        if learner.collaboration.method in METHODS:  # refused elsewhere
            check_family(wanted.family, learner.collaboration.method)
    candidates = list(_candidates(catalogue, learner))
    fitting = [one for one in candidates if one.n_bytes <= budget]
    while fitting:
        best = _best(fitting)
        if _can_be(catalogue, best.model):
            return replace(learner, model=best.model)
        fitting.remove(best)
    by_size = sorted(candidates, key=lambda one: one.n_bytes)
    family = "" if wanted.family == ModelConfig().family else f" of the family {wanted.family}"
    least = next((one for one in by_size if _can_be(catalogue, one.model)), None)
    raise ConfigError(
        f"memory_budget: no model{family} for {wanted.task.value} keeps "
        f"{budget:,} bytes with a catalogue of {len(catalogue):,} items"
        + (
            f"; the smallest, {model_of(catalogue, least.model).name}, takes {least.n_bytes:,}"
            if least is not None
            else ""
        )
        + ("; a smaller option capacity holds fewer sessions" if _sessions_held(learner) else "")
    )


def _candidates(catalogue: Catalogue, learner: LearnerConfig) -> Iterator[_Candidate]:
    """All models that may be, each with its bytes; tables are not built for it."""
    wanted, known, n_held = learner.model, worth(), _held(learner)
    able = families_of(learner.collaboration.method)
    n_sessions = _sessions_held(learner)
    for family in FAMILIES:
        if wanted.family not in {ModelConfig().family, family}:
            continue
        if family not in able and family != wanted.family:
            continue
        for size in FAMILIES[family].sizes:
            beside: int | None = None
            for table, compression in _FORMS:
                model = replace(
                    wanted,
                    family=family,
                    embedding_size=size,
                    table=table,
                    compression=compression,
                )
                if not _checks(model) or tells(replace(learner, model=model)):
                    continue
                if compression == 1:
                    n_bytes = most_bytes(
                        catalogue,
                        model_of(catalogue, model),
                        n_held=n_held,
                        n_sessions=n_sessions,
                    )
                else:
                    if beside is None:
                        beside = _beside(catalogue, model, n_held=n_held)
                    n_bytes = beside + full_bytes(len(catalogue), size) // compression
                yield _Candidate(model=model, n_bytes=n_bytes, guide=guide(known, model))


def _checks(model: ModelConfig) -> bool:
    try:
        check_model_of(model)
    except ConfigError:
        return False
    return True


def _beside(catalogue: Catalogue, model: ModelConfig, *, n_held: int) -> int:
    """What a model takes beside its compact table, the same with each of them."""
    plain = model_of(catalogue, replace(model, table=Narrow.name, compression=2))
    table = full_bytes(len(catalogue), model.embedding_size) // 2
    return most_bytes(catalogue, plain, n_held=n_held) - table


def _can_be(catalogue: Catalogue, model: ModelConfig) -> bool:
    """Whether it can be built; of a small catalogue some tables cannot, nor of a large one."""
    try:
        model_of(catalogue, model)
    except ConfigError:
        return False
    return True


def _best(fitting: Sequence[_Candidate]) -> _Candidate:
    """As of ``within_budget``."""
    known = [(one.guide.ndcg10, one) for one in fitting if one.guide is not None and one.known]
    least_ndcg = max((ndcg for ndcg, _ in known), default=0.0) - _ALIKE
    alike = [one for ndcg, one in known if ndcg >= least_ndcg]
    return min(alike or fitting, key=_order)


def _order(one: _Candidate) -> tuple[float, ...]:
    """Of those that are alike in quality, and of those that nobody has measured."""
    if one.guide is None:
        return math.inf, one.model.compression, -one.model.embedding_size
    size, compression = apart(one.guide.model, one.model)
    if one.known:
        return size, compression, one.guide.cpu_s, -one.guide.ndcg10, one.n_bytes
    return size, -one.guide.ndcg10, compression, one.n_bytes


def _held(learner: LearnerConfig) -> int:
    """Items of which a peer keeps rows, at most: hearsay may be a quarter more for a while."""
    hearsay = float(
        learner.collaboration.options.get("max_hearsay", AVERAGING["max_hearsay"].default)
    )
    return _OWN_ITEMS + int(1.25 * hearsay)


def _sessions_held(learner: LearnerConfig) -> int:
    return sessions_held(learner.collaboration.method, learner.collaboration.options)


def settled(config: PeerConfig, catalogue: Catalogue) -> PeerConfig:
    """The settings with the model that the budget allows; the same where there is none.

    Raises:
        ConfigError: As of ``within_budget``; or of the method, on whose options a size depends.
    """
    if not config.memory_budget:
        return config
    budget = parse_bytes(config.memory_budget, source="the settings")
    build_method(config.learner.collaboration.method, config.learner.collaboration.options)
    return replace(config, learner=within_budget(catalogue, config.learner, budget))
