"""A budget of memory is all that an owner has to say: which model keeps it, and how good it is.

What models are worth was measured once on the synthetic city (``peers/models.json``, written by
``python -m scenarios.measure_models``); a peer takes the best of those that fit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from p2prec.collaboration.methods import build_method
from p2prec.collaboration.parameters import AVERAGING
from p2prec.data.catalogue import Catalogue
from p2prec.embeddings.tables import TABLES
from p2prec.errors import ConfigError
from p2prec.models.families import FAMILIES, check_model, model_of, parse_model
from p2prec.training.config import LearnerConfig, ModelConfig
from p2prec.training.given_up import tells
from p2prec.training.on_device import most_bytes
from peers.amounts import parse_bytes
from peers.config import PeerConfig

MEASURED: Final = Path(__file__).with_name("models.json")
_ALIKE = 0.01  # of NDCG@10: less than chance could do, so that the cheapest to learn is taken
_OWN_ITEMS = 2_048  # of an owner's long life; what it hears of is bounded by its method


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a model was worth on the synthetic city.

    Attributes:
        name: Of the model.
        hr10: Share of the next places among the first ten.
        ndcg10: The same, weighted by their places.
        n_bytes: What it took there, on a device.
        cpu_s: Seconds of a processor that it took to learn there.
    """

    name: str
    hr10: float
    ndcg10: float
    n_bytes: int
    cpu_s: float


@cache
def measured() -> Mapping[str, Any]:
    """All that was measured: ``made_by``, and ``models`` by name."""
    found: dict[str, Any] = json.loads(MEASURED.read_text(encoding="utf-8"))
    return found


def expected_of(name: str) -> Expected | None:
    """What was measured of a model, if anything."""
    row = measured()["models"].get(name)
    if row is None or "why" in row:
        return None
    return Expected(
        name=name,
        hr10=row["hr@10"],
        ndcg10=row["ndcg@10"],
        n_bytes=row["bytes"],
        cpu_s=row["cpu_s"],
    )


def model_rows() -> list[dict[str, Any]]:
    """Every pair of recommender and item table: what was measured, or why there is nothing.

    A pair that was measured in several sizes has one row each.
    """
    rows: list[dict[str, Any]] = []
    for family in FAMILIES:
        for table in TABLES:
            found = [
                {"recommender": family, "table": table, **row, "model": name}
                for name, row in measured()["models"].items()
                if (row["recommender"], row["table"]) == (family, table)
            ]
            if not found:
                found = [{"recommender": family, "table": table, "why": _missing(family, table)}]
            rows += found
    return rows


def _missing(family: str, table: str) -> str:
    """Why nothing was measured of a pair."""
    size = FAMILIES[family].sizes[0]
    try:
        check_model(
            family=family,
            embedding_size=size,
            task=min(FAMILIES[family].tasks),
            table=table,
            compression=1,
        )
    except ConfigError as error:
        return str(error)
    return "it runs, and was not measured yet: python -m scenarios.measure_models"


def within_budget(catalogue: Catalogue, learner: LearnerConfig, budget: int) -> LearnerConfig:
    """The settings with the best model that keeps a budget, whatever is learned.

    Of those that cannot be told apart it is the one that costs least to learn; never one that
    would tell neighbours what the protection hides.

    The family is the owner's where the settings name another one than the default.

    Args:
        catalogue: The realm's items.
        learner: The owner's settings.
        budget: Bytes.

    Raises:
        ConfigError: Nothing is as small; says how small the smallest is.
    """
    wanted = learner.model
    default = ModelConfig()
    rows = [row for row in map(expected_of, measured()["models"]) if row is not None]
    configs = {row.name: parse_model(row.name) for row in rows}
    fitting, least = [], None
    for row in rows:
        config = configs[row.name]
        named = wanted.family in {default.family, config.family}
        if not named or config.task is not wanted.task or tells(replace(learner, model=config)):
            continue
        try:
            model = model_of(catalogue, config)
        except ConfigError:  # of a catalogue this small there is no such table
            continue
        most = most_bytes(catalogue, model, n_held=_held(learner))
        least = most if least is None else min(least, most)
        if most <= budget:
            fitting.append((row, most, config))
    if not fitting:
        raise ConfigError(
            f"memory_budget: no model of the family {wanted.family} for {wanted.task.value} keeps "
            f"{budget:,} bytes with a catalogue of {len(catalogue):,} items"
            + (f"; the smallest takes {least:,}" if least is not None else "")
        )
    least_ndcg = max(row.ndcg10 for row, _, _ in fitting) - _ALIKE
    alike = [one for one in fitting if one[0].ndcg10 >= least_ndcg]
    best = min(alike, key=lambda one: (one[0].cpu_s, -one[0].ndcg10, one[1]))[2]
    return replace(learner, model=replace(best, discovery=wanted.discovery))


def _held(learner: LearnerConfig) -> int:
    """Items of which a peer keeps rows, at most: hearsay may be a quarter more for a while."""
    hearsay = float(
        learner.collaboration.options.get("max_hearsay", AVERAGING["max_hearsay"].default)
    )
    return _OWN_ITEMS + int(1.25 * hearsay)


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
