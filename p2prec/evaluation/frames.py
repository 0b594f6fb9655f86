"""Results of an evaluation as a data frame; needs the extra ``results``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from p2prec.errors import DataError
from p2prec.evaluation.answers import gains
from p2prec.evaluation.metrics import K

if TYPE_CHECKING:
    import pandas as pd


def frame(results: Mapping[str, Any] | str | Path) -> pd.DataFrame:
    """One row for each answer of each method.

    Columns: ``method``, ``seed``, ``user``, ``new``, ``visits``, ``popularity``, ``rank``,
    ``sampled_rank`` (0 without a sampled protocol), ``auc``, ``hr@10``, ``ndcg@10``,
    ``reciprocal_rank``. So ``frame(path).groupby("method")["ndcg@10"].mean()`` is the table.

    Args:
        results: What ``p2prec evaluate --json`` printed, or the path of a file with it.

    Raises:
        DataError: It holds no answers.
    """
    import pandas as pd

    if isinstance(results, (str, Path)):
        found: Mapping[str, Any] = json.loads(Path(results).read_text(encoding="utf-8"))
    else:
        found = results
    if "answers" not in found:
        raise DataError("no answers in these results; p2prec evaluate --json writes them")
    answers = found["answers"]
    asked = {name: answers[name] for name in ("seed", "user", "new", "visits", "popularity")}
    parts = []
    for method, ranks in answers["rank"].items():
        rank = np.asarray(ranks, np.int64)
        given = {
            "rank": rank,
            "sampled_rank": answers["sampled_rank"][method],
            "auc": answers["auc"][method],
            "hr@10": (rank <= K).astype(float),
            "ndcg@10": gains(rank),
            "reciprocal_rank": 1.0 / rank,
        }
        parts.append(pd.DataFrame({"method": method, **asked, **given}))
    return pd.concat(parts, ignore_index=True)
