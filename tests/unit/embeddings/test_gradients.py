"""Gradients of tables: against differences, and against twins written from the formulas.

Differences are taken of every table; one through which no gradient can be seen needs a line in
``STRAIGHT`` and a twin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_tables import moved, stored

from p2prec.data.catalogue import Catalogue
from p2prec.embeddings.optembed import GatedRows
from p2prec.embeddings.prefixes import N_GROUPS, GroupWidths
from p2prec.embeddings.table import Device, Floats, ItemTable
from p2prec.embeddings.tables import TABLES, build_table, compressions_of

SIZE, N = 8, 3_000
_DRAWN = np.random.default_rng(2)
CITY = Catalogue.build(
    item_ids=[str(i) for i in range(N)],
    latitude_deg=_DRAWN.uniform(50.0, 50.5, N),
    longitude_deg=_DRAWN.uniform(4.0, 4.5, N),
    category_names=[str(i) for i in _DRAWN.integers(0, 12, N)],
)
ITEMS = np.arange(7, N, 61)
Twin = Callable[[ItemTable, torch.Tensor, torch.Tensor, Device], tuple[torch.Tensor, torch.Tensor]]


def _straight(value: torch.Tensor, through: torch.Tensor) -> torch.Tensor:
    """The value, with the gradient of another."""
    return through + (value - through).detach()


def _none() -> torch.Tensor:
    return torch.zeros(())


def _tensor_train(
    table: ItemTable, rows: torch.Tensor, pieces: torch.Tensor, device: Device
) -> tuple[torch.Tensor, torch.Tensor]:
    """The semi-tensor product as the Kronecker product that defines it: ``A (B x I_t)``."""
    del rows, device
    t, (outer, inner), (n_first, n_second) = table.step, table.lengths, table.slices
    first = pieces[: table.n_first].reshape(n_first, outer, t, table.rank // t)
    second = pieces[table.n_first :].reshape(n_second, table.rank // t, inner // t)
    vectors = []
    for item in ITEMS:
        i, j = table.digits[:, item]
        # A's columns are p t + s, the core's axes s, p.
        a = first[i].transpose(1, 2).reshape(outer, table.rank)
        product = a @ torch.kron(second[j].contiguous(), torch.eye(t))
        vectors.append(product.reshape(-1))
    return torch.stack(vectors), _none()


def _cerp(
    table: ItemTable, rows: torch.Tensor, pieces: torch.Tensor, device: Device
) -> tuple[torch.Tensor, torch.Tensor]:
    del rows, device
    values, thresholds = pieces[:-1].reshape(2, 2, table.length, table.size)
    left = torch.sign(values) * torch.relu(values.abs() - torch.sigmoid(thresholds))
    a, b = table.digits[:, ITEMS]
    vectors = left[0, a] + left[1, b]
    return vectors, -pieces[-1].detach() * torch.tanh(20.0 * vectors).square().sum()


def _codes(
    table: ItemTable, rows: torch.Tensor, pieces: torch.Tensor, device: Device
) -> tuple[torch.Tensor, torch.Tensor]:
    del device
    split = table.n_groups * table.size
    groups = pieces[:split].reshape(-1, table.size)[table.group[ITEMS]]
    words = pieces[split:-1].reshape(table.n_books, -1, table.size)
    rest, said = rows.detach().clone(), torch.zeros_like(rows)
    for options in words:
        code = torch.cdist(rest, options.detach()).argmin(1)
        rest -= options[code].detach()
        said = said + options[code]
    h = pieces[-1].detach()
    through = (1 - h) * rows + h * (said + rows - rows.detach())
    commitment = 0.05 * h * (rows - said.detach()).square().sum()
    return groups + through, commitment


def _legcf(
    table: ItemTable, rows: torch.Tensor, pieces: torch.Tensor, device: Device
) -> tuple[torch.Tensor, torch.Tensor]:
    del device
    weights = torch.tensor(table.start).repeat(len(ITEMS), 1)
    if table.row_width:
        weights = weights + rows
    meta = pieces.reshape(-1, table.size)[table.assigned[ITEMS]]
    return (weights[:, :, None] * meta).sum(1), _none()


def _hashgnn(
    table: ItemTable, rows: torch.Tensor, pieces: torch.Tensor, device: Device
) -> tuple[torch.Tensor, torch.Tensor]:
    del device
    seen = float(table.steepness) * rows
    sign = torch.where(rows >= 0, 1.0, -1.0)
    hashed = torch.tensor(table.draws[ITEMS])[:, None] < pieces[-1]
    codes = _straight(torch.where(hashed, sign, torch.tanh(seen)), seen) * pieces[:-1]
    return torch.nn.functional.pad(codes, (0, table.size - table.n_bits)), _none()


def _blocks(table: ItemTable, pieces: torch.Tensor, device: Device) -> np.ndarray:
    """The group of each item, by the number of ends that its popularity does not reach."""
    del table
    ends = pieces[-4:-1].detach().numpy()
    return (device.others[ITEMS][:, None] < ends).sum(1)


def _diversity(rows: torch.Tensor) -> torch.Tensor:
    blocks = torch.nn.functional.normalize(rows.reshape(len(rows), 4, -1), dim=2, eps=1e-9)
    alike = blocks @ blocks.transpose(1, 2)
    off = alike - torch.diag_embed(torch.diagonal(alike, dim1=1, dim2=2))
    return 1e-3 * off.square().sum()


def _rule(
    table: ItemTable, rows: torch.Tensor, pieces: torch.Tensor, device: Device
) -> tuple[torch.Tensor, torch.Tensor]:
    group = _blocks(table, pieces, device)
    mask = torch.tensor(table.present(pieces.detach().numpy())[group], dtype=torch.float32)
    return (rows.reshape(len(rows), 4, -1) * mask[:, :, None]).reshape(rows.shape), _diversity(rows)


def _pee(
    table: ItemTable, rows: torch.Tensor, pieces: torch.Tensor, device: Device
) -> tuple[torch.Tensor, torch.Tensor]:
    group = _blocks(table, pieces, device)
    mask = torch.tensor(table.present(pieces.detach().numpy())[group], dtype=torch.float32)
    weights = pieces[:16].reshape(4, 4)[group] * mask
    vectors = (rows.reshape(len(rows), 4, -1) * weights[:, :, None]).reshape(rows.shape)
    return vectors, _diversity(rows) + 1e-3 * weights.abs().sum()


def _optembed(
    table: ItemTable, rows: torch.Tensor, pieces: torch.Tensor, device: Device
) -> tuple[torch.Tensor, torch.Tensor]:
    assert isinstance(table, GatedRows)
    kept = stored(table, [device], ITEMS, np.zeros(len(ITEMS), np.int64))
    widths = GroupWidths.chooser(table, kept)(kept.pieces[kept.owner, -1])
    prefix = torch.arange(table.size) < torch.tensor(np.maximum(widths, 1))[:, None]
    thresholds = pieces[N_GROUPS:-1][torch.tensor(table.groups(kept))]
    z = rows.abs().mean(1) / float(table.unit) - thresholds
    # Integrals of 2 - 4 abs(z) up to 0.4, and of 0.4 up to 1.
    near, far = z.clamp(-0.4, 0.4), z.clamp(-1.0, 1.0)
    surrogate = 2 * near - 2 * near * near.abs() + 0.4 * (far - near)
    gate = _straight((z > 0).float(), surrogate)
    return gate[:, None] * prefix * rows, 1e-3 * torch.exp(-thresholds).sum()


TWINS: dict[str, Twin] = {
    "tt": _tensor_train,
    "stp": _tensor_train,
    "cerp": _cerp,
    "codes": _codes,
    "legcf": _legcf,
    "hashgnn": _hashgnn,
    "optembed": _optembed,
    "rule": _rule,
    "pee": _pee,
}


# Of these the vector is a step of the row: what differences see is no gradient to learn by.
STRAIGHT = {
    "codes": "a row's words are the nearest ones, and its gradient passes by them",
    "dcf": "bits are signs, and rows are trained through them",
    "hashgnn": "bits are signs, and rows are trained through them",
    "optembed": "a gate is open or shut, and rows are trained by a slope that it has not",
}
SMOOTH = sorted(set(TABLES) - set(STRAIGHT))
STEP = np.float32(1e-3)
FORMS = [(name, c) for name in TABLES for c in compressions_of(name) if name == "full" or c > 1]


def device_of(table: ItemTable, name: str) -> Device:
    device = moved(table, 5)
    pieces = device.pieces.copy()
    if name == "hashgnn":  # within reach: what is beyond it has a test of its own
        device = replace(device, rows=0.1 * device.rows)
    if name in {"codes", "hashgnn"}:
        pieces[-1] = 0.6  # some rows as they are, some as their codes
    if name == "cerp":  # thresholds that prune a good part, and keep a good part
        pieces[table.n_values : -1] = np.random.default_rng(1).normal(-2.5, 1.0, table.n_values)
    if name == "optembed":  # thresholds amid the rows' magnitudes
        pieces[N_GROUPS:-1] = np.random.default_rng(1).normal(1.2, 0.5, N_GROUPS)
    if name in {"rule", "pee"}:
        pieces[-4:] = (0.9, 0.6, 0.3, 1.0)
    return Device(items=device.items, rows=device.rows, others=device.others, pieces=pieces)


def alike(name: str, compression: int) -> tuple[float, float]:
    """Shares of gradients by rows, and by pieces, that are those of differences.

    ``backward`` without a loss is what a table adds of its own, which no vector shows.
    """
    table = build_table(CITY, table=name, size=SIZE, compression=compression)
    kept = stored(table, [device_of(table, name)], ITEMS, np.zeros(len(ITEMS), np.int64))
    vectors, tape = table.compose(kept)
    wanted = np.random.default_rng(3).normal(size=vectors.shape).astype(np.float32)
    with_loss = table.backward(tape, wanted.copy())
    without = table.backward(table.compose(kept)[1], np.zeros_like(wanted))
    by_rows, by_pieces = (one - other for one, other in zip(with_loss, without, strict=True))

    def slopes(rows: Floats, pieces: Floats) -> np.ndarray:
        """Of each item's part of the loss, along a way."""
        ahead, behind = (
            table.compose(
                replace(kept, rows=kept.rows + way * rows, pieces=kept.pieces + way * pieces)
            )
            for way in (STEP, -STEP)
        )
        found: np.ndarray = ((ahead[0].astype(np.float64) - behind[0]) * wanted).sum(1) / (2 * STEP)
        return found

    still_rows, still_pieces = np.zeros_like(kept.rows), np.zeros_like(kept.pieces)
    shares = []
    # An item's vector is made of its own row and of pieces: a column of all rows at once will do.
    columns = [np.eye(table.row_width, dtype=np.float32)[[j]] for j in range(table.row_width)]
    seen = [slopes(still_rows + column, still_pieces) for column in columns]
    shares.append(_share(by_rows, np.stack(seen, 1) if seen else by_rows))
    trained = np.flatnonzero(table.piece_rates() > 0)
    order = trained[np.argsort(-np.abs(by_pieces[0, trained]), kind="stable")]
    some = np.unique(np.concatenate([order[:24], order[-8:]]))
    ways = [np.eye(1, table.n_pieces, k, dtype=np.float32) for k in some]
    told = np.array([slopes(still_rows, way).sum() for way in ways])
    shares.append(_share(by_pieces[0, some], told))
    return shares[0], shares[1]


def _share(gradient: np.ndarray, differences: np.ndarray) -> float:
    if not gradient.size:
        return 1.0
    return float(np.isclose(gradient, differences, rtol=2e-2, atol=2e-2).mean())


@pytest.mark.parametrize(("name", "compression"), [f for f in FORMS if f[0] in SMOOTH])
def test_gradients_are_those_of_differences(name: str, compression: int) -> None:
    """But for a few rows where a step goes over an edge, or a threshold follows the row."""
    by_rows, by_pieces = alike(name, compression)
    assert by_rows >= 0.95
    assert by_pieces == 1.0


@pytest.mark.parametrize("name", STRAIGHT)
def test_what_differences_cannot_see_is_said_with_its_reason(name: str) -> None:
    assert STRAIGHT[name]
    assert all(alike(name, c)[0] < 0.9 for c in compressions_of(name) if c > 1)


def test_every_member_is_held_against_differences_or_a_twin() -> None:
    assert set(SMOOTH) | set(STRAIGHT) == set(TABLES)
    # Scales of dcf have a test of their own below: its other pieces are no gradient.
    assert set(STRAIGHT) - set(TWINS) == {"dcf"}


@pytest.mark.parametrize("compression", [4, 20])
@pytest.mark.parametrize("name", TWINS)
def test_gradients_are_those_of_the_formula(name: str, compression: int) -> None:
    table = build_table(CITY, table=name, size=SIZE, compression=compression)
    device = device_of(table, name)
    zeros = np.zeros(len(ITEMS), np.int64)
    vectors, tape = table.compose(stored(table, [device], ITEMS, zeros))
    wanted = np.random.default_rng(3).normal(size=vectors.shape).astype(np.float32)
    by_rows, by_pieces = table.backward(tape, wanted.copy())

    rows = torch.tensor(device.rows[ITEMS], requires_grad=True)
    pieces = torch.tensor(device.pieces, requires_grad=True)
    twin, penalty = TWINS[name](table, rows, pieces, device)
    np.testing.assert_allclose(vectors, twin.detach().numpy(), rtol=1e-4, atol=1e-5)
    loss = (twin * torch.tensor(wanted)).sum() + penalty
    found = torch.autograd.grad(loss, (rows, pieces), allow_unused=True)
    if table.row_width:
        np.testing.assert_allclose(by_rows, found[0].numpy(), rtol=2e-3, atol=1e-4)
    if found[1] is not None:
        trained = table.piece_rates() > 0
        np.testing.assert_allclose(
            by_pieces[0][trained], found[1].numpy()[trained], rtol=2e-3, atol=1e-4
        )
        assert np.abs(by_pieces[0][trained]).sum() > 0 or not trained.any()


@pytest.mark.parametrize("name", ["dcf", "hashgnn"])
def test_a_row_that_is_very_sure_is_pushed_no_further(name: str) -> None:
    table = build_table(CITY, table=name, size=SIZE, compression=4)
    device = moved(table, 5)
    rows = device.rows.copy()
    rows[ITEMS[0]] = 100.0
    device = replace(device, rows=rows)
    zeros = np.zeros(len(ITEMS), np.int64)
    vectors, tape = table.compose(stored(table, [device], ITEMS, zeros))
    outwards, _ = table.backward(tape, -np.ones_like(vectors))
    inwards, _ = table.backward(tape, np.ones_like(vectors))
    assert not outwards[0].any()
    assert (inwards[0] > 0).all()


def test_bits_of_dcf_are_signs_from_the_first_step_on() -> None:
    table = build_table(CITY, table="dcf", size=SIZE, compression=4)
    device = moved(table, 5)
    rows = device.rows
    zeros = np.zeros(len(ITEMS), np.int64)
    vectors, tape = table.compose(stored(table, [device], ITEMS, zeros))
    scales = device.pieces[: table.n_bits]
    np.testing.assert_array_equal(vectors, np.where(rows[ITEMS] >= 0, scales, -scales))
    _, by_pieces = table.backward(tape, -np.ones_like(vectors))
    np.testing.assert_allclose(
        by_pieces[0, : table.n_bits], -np.where(rows[ITEMS] >= 0, 1.0, -1.0).sum(0), rtol=1e-5
    )
