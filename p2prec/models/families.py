"""Model families by name: a new one is one file and one line."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable

from p2prec.data.catalogue import Catalogue
from p2prec.errors import ConfigError
from p2prec.models.model import Model
from p2prec.models.next_place_model import NextPlaceModel
from p2prec.models.recommender import Task

MODELS: dict[str, Callable[[Catalogue, int, Task], Model]] = {
    "next_place": NextPlaceModel,
}
# Sizes that peers of one realm may exchange: what a stranger sends is checked against them.
EMBEDDING_SIZES = (4, 8, 12, 16, 24, 32, 48, 64)


def build_model(catalogue: Catalogue, *, family: str, embedding_size: int, task: Task) -> Model:
    """The formulas of one model.

    Raises:
        ConfigError: No such family or size, or the family cannot learn the task.
    """
    if family not in MODELS:
        raise ConfigError(
            f"unknown model family {family!r}; there are: {', '.join(sorted(MODELS))}"
        )
    if embedding_size not in EMBEDDING_SIZES:
        raise ConfigError(
            f"embedding_size = {embedding_size} is a size that other peers refuse; take one of "
            + ", ".join(map(str, EMBEDDING_SIZES))
        )
    return MODELS[family](catalogue, embedding_size, task)


def exchanged_models(catalogue: Catalogue) -> list[Model]:
    """Every model whose updates peers of a realm understand."""
    models = []
    for family, task in itertools.product(MODELS.values(), Task):
        with contextlib.suppress(ConfigError):
            models += [family(catalogue, size, task) for size in EMBEDDING_SIZES]
    return models
