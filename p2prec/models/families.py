"""Model families by name: a new one is one file and one line."""

from __future__ import annotations

import re
from functools import lru_cache

from p2prec.data.catalogue import Catalogue
from p2prec.embeddings.tables import build_table, check_table
from p2prec.errors import ConfigError
from p2prec.models.embedded import EmbeddedModel
from p2prec.models.factorisation import Factorisation
from p2prec.models.fm import FactorisationMachine
from p2prec.models.lightgcn import LightGCN
from p2prec.models.llrec import LLRec
from p2prec.models.mf import MatrixFactorisation
from p2prec.models.model import Model
from p2prec.models.neumf import NeuMF
from p2prec.models.next_place_model import NextPlaceModel
from p2prec.models.nfm import NeuralFactorisationMachine
from p2prec.models.patched import PatchedFactorisation
from p2prec.models.ranker import Ranker
from p2prec.models.recommender import Task
from p2prec.models.session_knn import SessionKNN
from p2prec.text import nearest
from p2prec.training.config import ModelConfig

MODELS: dict[str, type[Model]] = {
    "ranker": Ranker,
    "next_place": NextPlaceModel,
    "mf": MatrixFactorisation,
    "session_knn": SessionKNN,
}
EMBEDDED: dict[str, type[EmbeddedModel | NextPlaceModel]] = {
    "mf": Factorisation,  # where the table is not full
    "fm": FactorisationMachine,
    "neumf": NeuMF,
    "nfm": NeuralFactorisationMachine,
    "lightgcn": LightGCN,
    "llrec": LLRec,
    "metapatch": PatchedFactorisation,
    "next_place": NextPlaceModel,
}
# All that there are: of one that is in both, the former is taken where the table is full.
FAMILIES: dict[str, type[Model | EmbeddedModel | NextPlaceModel]] = {**EMBEDDED, **MODELS}
_NO_TABLE = "has no embeddings for a table to hold; take {able}"


def check_model(
    *, family: str, embedding_size: int, task: Task, table: str = "full", compression: int = 1
) -> None:
    """Refuse what cannot be.

    Raises:
        ConfigError: No such family, size or table, or they do not go together.
    """
    known = FAMILIES
    if family not in known:
        raise ConfigError(f"unknown model family {family!r}; {nearest(family, known)}")
    sizes = known[family].sizes
    if embedding_size not in sizes:
        raise ConfigError(
            f"embedding_size = {embedding_size} is a size of {family} that other peers refuse; "
            f"take one of {', '.join(map(str, sizes))}"
        )
    if task not in known[family].tasks:
        able = " or ".join(sorted(name for name, model in known.items() if task in model.tasks))
        raise ConfigError(f"{family} cannot learn the task {task.value!r}; {able} can")
    check_table(table=table, compression=compression)
    if table != "full" and family not in EMBEDDED:
        raise ConfigError(f"{family} {_NO_TABLE.format(able=', '.join(sorted(EMBEDDED)))}")


def check_model_of(config: ModelConfig) -> None:
    """As of ``check_model``."""
    check_model(
        family=config.family,
        embedding_size=config.embedding_size,
        task=config.task,
        table=config.table,
        compression=config.compression,
    )


@lru_cache(maxsize=512)
def build_model(
    catalogue: Catalogue,
    *,
    family: str,
    embedding_size: int,
    task: Task,
    table: str = "full",
    compression: int = 1,
) -> Model:
    """The formulas of one model, the same object for all peers that share a catalogue.

    Raises:
        ConfigError: As of ``check_model``.
    """
    check_model(
        family=family,
        embedding_size=embedding_size,
        task=task,
        table=table,
        compression=compression,
    )
    if family in MODELS and table == "full":
        return MODELS[family](catalogue, embedding_size, task)
    held = build_table(catalogue, table=table, size=embedding_size, compression=compression)
    return EMBEDDED[family](catalogue, embedding_size, task, held)


def model_of(catalogue: Catalogue, config: ModelConfig) -> Model:
    """As of ``build_model``."""
    return build_model(
        catalogue,
        family=config.family,
        embedding_size=config.embedding_size,
        task=config.task,
        table=config.table,
        compression=config.compression,
    )


def parse_model(name: str) -> ModelConfig:
    """What a name such as ``"mf/16"``, ``"mf/16/click"`` or ``"mf/16/qrt-10"`` says.

    Raises:
        ConfigError: It is no such name, or names what cannot be.
    """
    parts = re.fullmatch(r"([a-z_]+)/(\d{1,4})(?:/([a-z_0-9]+)-(\d{1,3}))?(?:/([a-z]+))?", name)
    if parts is None:
        raise ConfigError(
            f"{name!r} names no model; write family/size, family/size/task or "
            "family/size/table-compression, such as mf/16/click or mf/16/qrt-10"
        )
    tasks = {task.value for task in Task}
    if parts[5] and parts[5] not in tasks:
        raise ConfigError(f"{name!r}: unknown task {parts[5]!r}; {nearest(parts[5], tasks)}")
    family, size, task = parts[1], int(parts[2]), Task(parts[5] or Task.RANKING)
    table, compression = parts[3] or "full", int(parts[4] or 1)
    check_model(family=family, embedding_size=size, task=task, table=table, compression=compression)
    return ModelConfig(
        family=family, embedding_size=size, task=task, table=table, compression=compression
    )


def exchanged_models(catalogue: Catalogue) -> list[Model]:
    """Every model with full tables whose updates peers of a realm understand."""
    return [
        build_model(catalogue, family=family, embedding_size=size, task=task)
        for family, model in FAMILIES.items()
        for task in Task
        if task in model.tasks
        for size in model.sizes
    ]
