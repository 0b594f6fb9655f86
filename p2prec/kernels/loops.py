"""All compiled forms, by name; importing this imports numba."""

from __future__ import annotations

from p2prec.kernels.adagrad import step_rows
from p2prec.kernels.averaging import average_rows
from p2prec.kernels.factors import gather_scores, rate_pass, sum_errors
from p2prec.kernels.ranker import (
    back_through_output,
    inside,
    kinds_of_candidates,
    lie,
    rectify_first,
    rectify_second,
)
from p2prec.kernels.segments import copy_rows, insert_rows, missing_rows
from p2prec.kernels.turns import reading_turns
from p2prec.kernels.updates import all_known, say_rows

__all__ = [
    "all_known",
    "average_rows",
    "back_through_output",
    "copy_rows",
    "gather_scores",
    "insert_rows",
    "inside",
    "kinds_of_candidates",
    "lie",
    "missing_rows",
    "rate_pass",
    "reading_turns",
    "rectify_first",
    "rectify_second",
    "say_rows",
    "step_rows",
    "sum_errors",
]
