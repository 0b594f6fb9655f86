"""What is said of item tables follows from their rows: parts of full, verdicts, the goal."""

from __future__ import annotations

import numpy as np
import pytest

from scenarios.compact_page import _best, _held, _kept
from scenarios.compact_rows import Found, Interval, Verdict, by_table, of_full, to_narrow, verdicts

KIB = 1024


def rows(table: str, compression: int, kib: float, *ndcgs: float) -> list[dict[str, object]]:
    """A row a seed, from 1."""
    return [
        {
            "table": table,
            "compression": compression,
            "seed": seed,
            "table_bytes": round(kib * KIB),
            "ndcg@10": ndcg,
        }
        for seed, ndcg in enumerate(ndcgs, 1)
    ]


def found(*of: list[dict[str, object]]) -> Found:
    curve = [*rows("full", 1, 100, 0.30, 0.32, 0.34), *rows("narrow", 50, 1, 0.10, 0.12, 0.14)]
    return by_table([*curve, *(row for part in of for row in part)])


def test_an_interval_is_students() -> None:
    """t of two degrees of freedom, 4.303, times the standard error, 0.577."""
    interval = Interval.of([1.0, 2.0, 3.0])
    assert interval.mean == 2.0
    assert interval.half == pytest.approx(4.3027 / np.sqrt(3), rel=1e-4)
    assert interval.ends == pytest.approx((2 - 2.4841, 2 + 2.4841), abs=1e-4)
    assert [interval.against(at) for at in (-1.0, 0.0, 5.0)] == ["above", "open", "below"]
    assert interval.signed() == "+2.000 ± 2.484"


def test_one_seed_says_nothing() -> None:
    interval = Interval.of([0.5])
    assert interval.against(0.0) is Verdict.OPEN
    assert interval.signed() == "+0.500"


def test_parts_of_the_full_table_are_of_the_same_seed() -> None:
    tables = found(rows("pep", 50, 2, 0.30, 0.16, 0.17, 0.9))  # nobody has measured full for 4
    np.testing.assert_allclose(of_full(tables, tables["pep", 50]), [1.0, 0.5, 0.5])
    alone = by_table(rows("pep", 50, 2, 0.3))
    assert not len(of_full(alone, alone["pep", 50]))


def test_rows_that_could_not_be_measured_have_no_values() -> None:
    row = {"table": "qrt", "compression": 4, "seed": 1, "why": "too large"}
    assert ("qrt", 4) not in found([row])


@pytest.mark.parametrize(
    ("kib", "narrow"),
    [
        (10.0, 0.20),  # half of the way, over the logarithm
        (1.0, 0.10),
        (0.2, 0.10),  # smaller than any narrow one
        (300.0, 0.30),
    ],
)
def test_a_narrow_table_has_as_many_bytes(kib: float, narrow: float) -> None:
    tables = found(rows("pep", 10, kib, *(narrow + at + 0.05 for at in (0.0, 0.02, 0.04))))
    np.testing.assert_allclose(to_narrow(tables, tables["pep", 10]), 0.05, atol=1e-4)


def test_a_seed_needs_two_full_tables() -> None:
    tables = by_table([*rows("full", 1, 100, 0.3, 0.3), *rows("narrow", 50, 1, 0.1)])
    tables |= by_table(rows("pep", 10, 10, 0.2, 0.2, 0.2))
    np.testing.assert_allclose(to_narrow(tables, tables["pep", 10]), [0.0], atol=1e-4)
    popular = by_table([{"table": "most popular", "compression": 0, "seed": 1, "ndcg@10": 0.1}])
    assert not len(to_narrow(tables, popular["most popular", 0]))


def test_a_verdict_is_beyond_the_interval() -> None:
    tables = found(
        rows("pep", 10, 10, 0.25, 0.271, 0.289),  # 0.05 more, nearly the same of each seed
        rows("tt", 10, 10, 0.15, 0.171, 0.189),
        rows("rule", 10, 10, 0.30, 0.17, 0.29),  # more in the mean
    )
    ruled = verdicts(tables)
    assert {table: verdict for (table, _), (verdict, _) in ruled.items()} == {
        "pep": Verdict.ABOVE,
        "tt": Verdict.BELOW,
        "rule": Verdict.OPEN,
    }
    assert ruled["rule", 10][1].mean > 0
    text = "\n".join(_held({"films": tables}))
    assert "1 of 3 cells are above a narrow table beyond the 95 % interval, 1 below, 1 open" in text
    assert "Nowhere below: pep, rule.\nNowhere above: rule, tt." in text
    assert "- tt: films 1/10 (-0.0500" in text
    assert "- rule" not in text
    assert "| rule | open | 0 | 0 | 1 |" in text


def test_the_goal_is_established_beyond_the_interval_only() -> None:
    tables = found(
        rows("pep", 50, 2, 0.297, 0.317, 0.337),
        rows("tt", 50, 2, 0.15, 0.16, 0.17),
        rows("narrow", 20, 2, 0.30, 0.32, 0.34),  # is no compact table
    )
    text = "\n".join(_best({"films": tables}))
    assert "On films pep keeps 0.99 [0.99, 0.99] of it: reached beyond the interval." in text
    assert "| films | tt | 2.0 | 50.0 | 0.50 [0.50, 0.50] | 0.500, 0.500, 0.500 | missed" in text
    assert "narrow" not in text
    wide = found(rows("pep", 50, 2, 0.30, 0.30, 0.34))
    text = "\n".join(_best({"films": wide, "places": tables}))
    assert "On films pep keeps 0.98 [0.89, 1.07] of it: reached in the mean, not estab" in text
    assert "pep have such means on all sets" in text


def test_what_is_lost_is_listed_by_how_much() -> None:
    tables = found(rows("pep", 50, 2, 0.3, 0.32, 0.34), rows("tt", 50, 2, 0.15, 0.16, 0.17))
    assert "- films, 1/50: pep 1.000; below: tt 0.500" in _kept({"films": tables})
