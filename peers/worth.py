"""What models are worth: measured once on the synthetic city, for ranking.

``peers/models.json`` is written by ``python -m scenarios.measure_models``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from p2prec.embeddings.tables import TABLES
from p2prec.errors import ConfigError
from p2prec.models.families import FAMILIES, check_model, parse_model
from p2prec.training.config import ModelConfig

MEASURED: Final = Path(__file__).with_name("models.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a model was worth on the synthetic city, for ranking.

    Attributes:
        model: The settings that were measured.
        name: Of the model.
        hr10: Share of the next places among the first ten.
        ndcg10: The same, weighted by their places.
        cpu_s: Seconds of a processor that it took to learn there.
    """

    model: ModelConfig
    name: str
    hr10: float
    ndcg10: float
    cpu_s: float


Worth = dict[tuple[str, str], list[Expected]]
"""What was measured, by recommender and table."""


@cache
def measured() -> Mapping[str, Any]:
    """All that was measured: ``made_by``, and ``models`` by name."""
    found: dict[str, Any] = json.loads(MEASURED.read_text(encoding="utf-8"))
    return found


def expected_of(model: ModelConfig) -> Expected | None:
    """What a model is worth, if anything of its size and table was measured.

    It was measured for ranking, whatever the task, and where not at this compression, then at the
    nearest one.
    """
    found = guide(worth(), model)
    return found if found is not None and says(found, model) else None


def worth() -> Worth:
    """What was measured, by recommender and table."""
    found: Worth = {}
    for name, row in measured()["models"].items():
        if "why" in row:
            continue
        expected = Expected(
            model=parse_model(name),
            name=name,
            hr10=row["hr@10"],
            ndcg10=row["ndcg@10"],
            cpu_s=row["cpu_s"],
        )
        found.setdefault((row["recommender"], row["table"]), []).append(expected)
    return found


def guide(known: Worth, model: ModelConfig) -> Expected | None:
    """The measured one that is nearest of the same recommender and table, first in size."""
    return min(
        known.get((model.family, model.table), ()),
        key=lambda one: apart(one.model, model),
        default=None,
    )


def apart(one: ModelConfig, other: ModelConfig) -> tuple[float, float]:
    """How far two are from each other in size and in compression, in factors."""
    size = abs(math.log(one.embedding_size / other.embedding_size))
    return size, abs(math.log(one.compression / other.compression))


def says(one: Expected, model: ModelConfig) -> bool:
    """Whether it tells what a model is worth for which it is the guide."""
    return one.model.embedding_size == model.embedding_size


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
