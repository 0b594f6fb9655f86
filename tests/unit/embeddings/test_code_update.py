"""Updates of tables of codes that others hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_gradients import CITY, SIZE

from p2prec.embeddings.code_update import (
    CodeUpdate,
    HeldTable,
    Mode,
    apply_update,
    make_update,
    whole_table,
    words_that_go,
)
from p2prec.embeddings.compositional_codes import CompositionalCodes
from p2prec.errors import StoreError

TABLE = CompositionalCodes(CITY, SIZE, 4)
N_WORDS = 1 << TABLE.bits
MODES = pytest.mark.parametrize("mode", [Mode.QUEUE, Mode.STACK])


def learned(seed: int, n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Items and rows."""
    rng = np.random.default_rng(seed)
    items = np.sort(rng.choice(TABLE.n_items, n, replace=False))
    return items, TABLE.initial[items] + rng.normal(0.0, 0.3, (n, SIZE)).astype(np.float32)


def later(rows: np.ndarray, seed: int) -> np.ndarray:
    """Half of the rows have been learned on."""
    rng = np.random.default_rng(seed)
    moved = rows.copy()
    moved[::2] += rng.normal(0.3, 0.2, moved[::2].shape).astype(np.float32)
    return moved


BOOKS = TABLE.books(TABLE.initial_pieces())
ITEMS, ROWS = learned(1)
HELD = apply_update(None, whole_table(ROWS, ITEMS, BOOKS.words))


def update(mode: Mode = Mode.QUEUE, steps: int = 1, seed: int = 2) -> CodeUpdate:
    return make_update(HELD, later(ROWS, seed), ITEMS, renewed=10, steps=steps, mode=mode)


def error(table: HeldTable, rows: np.ndarray) -> float:
    return float(np.square(table.rows() - rows).mean())


@MODES
def test_an_update_follows_what_was_learned_since_the_whole_table(mode: Mode) -> None:
    for steps in (1, 3):
        rows = later(ROWS, steps)
        sent = make_update(HELD, rows, ITEMS, renewed=10, steps=steps, mode=mode)
        after = apply_update(HELD, sent)
        assert error(after, rows) < error(HELD, rows)
        n_new = sent.words.shape[1]
        assert n_new == steps * max(N_WORDS // 10, 1)
        stays = np.setdiff1d(
            np.arange(N_WORDS), np.arange(N_WORDS)[words_that_go(n_new, n_words=N_WORDS, mode=mode)]
        )
        assert np.array_equal(after.words[:, stays], HELD.words[:, stays])
        assert np.array_equal(after.codes[~sent.changed], HELD.codes[~sent.changed])
        assert 0 < sent.changed.sum() < len(ITEMS)


def test_of_what_has_not_changed_nothing_is_sent_but_the_new_words() -> None:
    same = make_update(HELD, ROWS, ITEMS, renewed=N_WORDS, steps=1, mode=Mode.QUEUE)
    assert same.changed.mean() < 0.3
    assert same.words.shape == (TABLE.n_books, 1, SIZE)


def test_a_queue_renews_the_oldest_words_and_a_stack_the_newest() -> None:
    assert words_that_go(3, n_words=10, mode=Mode.QUEUE) == slice(0, 3)
    assert words_that_go(3, n_words=10, mode=Mode.STACK) == slice(7, 10)
    assert words_that_go(10, n_words=10, mode=Mode.STACK) == slice(0, 10)


def test_items_come_and_go() -> None:
    items, rows = learned(7)
    sent = make_update(HELD, rows, items, renewed=10, steps=1, mode=Mode.QUEUE)
    assert sent.changed[~np.isin(items, ITEMS)].all()
    after = apply_update(HELD, sent)
    assert np.array_equal(after.items, items)
    hidden = replace(sent, changed=np.isin(items, ITEMS) & sent.changed)
    with pytest.raises(StoreError, match="leaves out those of an item that is new"):
        apply_update(HELD, hidden)


def test_what_is_sent_is_exact_in_half_precision() -> None:
    for sent in (whole_table(ROWS, ITEMS, BOOKS.words), update()):
        assert np.array_equal(sent.words, sent.words.astype(np.float16).astype(np.float32))


def test_an_update_of_another_table_is_refused() -> None:
    sent = update()
    others = (
        None,
        replace(HELD, words=HELD.words + np.float32(0.5)),
        replace(HELD, codes=HELD.codes[:, ::-1]),
        replace(HELD, items=HELD.items[::-1]),
        apply_update(HELD, sent),
    )
    for other in others:
        with pytest.raises(StoreError, match="of another table of codes"):
            apply_update(other, sent)
    assert apply_update(HELD, sent).items is sent.items


def test_no_more_words_than_there_are() -> None:
    sent = update(steps=100)
    assert sent.words.shape[1] == N_WORDS
    for n in (0, N_WORDS + 1):
        words = np.zeros((TABLE.n_books, n, SIZE), np.float32)
        with pytest.raises(StoreError, match="words to a book"):
            apply_update(HELD, replace(sent, words=words))
    whole = whole_table(ROWS, ITEMS, BOOKS.words)
    with pytest.raises(StoreError, match="leaves some out"):
        apply_update(None, replace(whole, changed=~whole.changed))
