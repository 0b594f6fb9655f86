"""Model families by name: a new one is one file and one line."""

from __future__ import annotations

import re
from functools import lru_cache

from p2prec.data.catalogue import Catalogue
from p2prec.errors import ConfigError
from p2prec.models.mf import MatrixFactorisation
from p2prec.models.model import Model
from p2prec.models.next_place_model import NextPlaceModel
from p2prec.models.ranker import Ranker
from p2prec.models.recommender import Task

MODELS: dict[str, type[Model]] = {
    "ranker": Ranker,
    "next_place": NextPlaceModel,
    "mf": MatrixFactorisation,
}


def check_model(*, family: str, embedding_size: int, task: Task) -> None:
    """Refuse what cannot be.

    Raises:
        ConfigError: No such family or size, or the family cannot learn the task.
    """
    if family not in MODELS:
        raise ConfigError(
            f"unknown model family {family!r}; there are: {', '.join(sorted(MODELS))}"
        )
    sizes = MODELS[family].sizes
    if embedding_size not in sizes:
        raise ConfigError(
            f"embedding_size = {embedding_size} is a size of {family} that other peers refuse; "
            f"take one of {', '.join(map(str, sizes))}"
        )
    if task not in MODELS[family].tasks:
        able = " or ".join(sorted(name for name, model in MODELS.items() if task in model.tasks))
        raise ConfigError(f"{family} cannot learn the task {task.value!r}; {able} can")


@lru_cache(maxsize=64)
def build_model(catalogue: Catalogue, *, family: str, embedding_size: int, task: Task) -> Model:
    """The formulas of one model, the same object for all peers that share a catalogue.

    Raises:
        ConfigError: As of ``check_model``.
    """
    check_model(family=family, embedding_size=embedding_size, task=task)
    return MODELS[family](catalogue, embedding_size, task)


def parse_model(name: str) -> tuple[str, int, Task]:
    """Family, embedding size and task of a name such as ``"mf/16"`` or ``"mf/16/click"``.

    Raises:
        ConfigError: It is no such name, or names what cannot be.
    """
    parts = re.fullmatch(r"([a-z_]+)/(\d{1,4})(?:/([a-z]+))?", name)
    if parts is None or (parts[3] and parts[3] not in set(Task)):
        raise ConfigError(
            f"{name!r} names no model; write family/size or family/size/task, such as mf/16/click"
        )
    family, size, task = parts[1], int(parts[2]), Task(parts[3] or Task.RANKING)
    check_model(family=family, embedding_size=size, task=task)
    return family, size, task


def exchanged_models(catalogue: Catalogue) -> list[Model]:
    """Every model whose updates peers of a realm understand."""
    return [
        model(catalogue, size, task)
        for model in MODELS.values()
        for task in Task
        if task in model.tasks
        for size in model.sizes
    ]
