"""Gradients by hand against independent twins in torch, surrogates included."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from p2prec.data.city import generate_city
from p2prec.embeddings.initial import initial_table
from p2prec.embeddings.table import Floats, ItemTable, Stored
from p2prec.embeddings.tables import TABLES, build_table
from p2prec.embeddings.td3 import Agent, Transitions, _backward, _forward

SIZE, PEERS, N = 8, 3, 60
CITY = generate_city(rng=np.random.default_rng(3), n_users=2, n_places=1_500, days=5)
EDGES = torch.tensor(0.125 * 2.0 ** (np.arange(7) / 2))
Twin = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def situation(table: ItemTable, *, price: float | None = None) -> tuple[Stored, Floats]:
    """Items of three peers, and what the loss says of their vectors."""
    rng = np.random.default_rng(5)
    items = np.sort(rng.choice(table.n_items, N, replace=False))
    start = initial_table(CITY.catalogue.digest, "items", table.n_items, table.row_width + 2)
    rows = start[items, : table.row_width]
    rows = rows + rng.normal(0.0, 1.0, rows.shape) * rng.exponential(0.2, (N, 1))
    pieces = np.repeat(table.initial_pieces()[None], PEERS, axis=0)
    learned = table.piece_rates() > 0
    pieces += rng.normal(0.0, 0.05, pieces.shape) * learned
    if price is not None:
        pieces[:, -1] = price
    stored = Stored(
        items=items,
        owner=rng.integers(0, PEERS, N),
        rows=rows.astype(np.float32),
        others=(rng.random(N) ** 3).astype(np.float32),
        pieces=pieces.astype(np.float32),
    )
    return stored, rng.normal(size=(N, SIZE)).astype(np.float32)


def built(name: str) -> ItemTable:
    return build_table(
        CITY.catalogue, table=name, size=SIZE, compression=min(TABLES[name].smallest, 4)
    )


def known(stored: Stored) -> torch.Tensor:
    start = initial_table(CITY.catalogue.digest, "items", len(CITY.catalogue), SIZE + 2)
    moved = stored.rows - start[stored.items, :SIZE]
    return torch.tensor(np.sqrt((moved**2).sum(1)) / 0.5 + stored.others, dtype=torch.float64)


def leaves(stored: Stored) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rows, pieces = (
        torch.tensor(part, dtype=torch.float64, requires_grad=True)
        for part in (stored.rows, stored.pieces)
    )
    return rows, pieces, torch.tensor(stored.owner)


def compared(table: ItemTable, stored: Stored, by_vectors: Floats, twin: Twin, extra: Any) -> None:
    """Vectors and gradients of both; ``extra`` is what the table adds to the loss."""
    vectors, tape = table.compose(stored)
    by_rows, by_pieces = table.backward(tape, by_vectors)
    composed, rows, pieces = twin
    np.testing.assert_allclose(vectors, composed.detach().numpy(), rtol=1e-4, atol=1e-5)
    loss = (composed * torch.tensor(by_vectors)).sum() + extra
    loss.backward()
    assert rows.grad is not None
    np.testing.assert_allclose(by_rows, rows.grad.numpy(), rtol=1e-3, atol=1e-4)
    wanted = np.zeros_like(by_pieces) if pieces.grad is None else pieces.grad.numpy()
    rates = table.piece_rates() > 0
    np.testing.assert_allclose(by_pieces[:, rates], wanted[:, rates], rtol=1e-3, atol=1e-4)
    assert not by_pieces[:, ~rates].any()


@pytest.mark.parametrize("name", ["ciess", "int4", "int8", "magprune", "narrow", "sseds"])
def test_rows_by_differences(name: str) -> None:
    table = built(name)
    stored, by_vectors = situation(table)
    by_rows, _ = table.backward(table.compose(stored)[1], by_vectors)
    step = np.float32(1e-3)
    for item, column in ((0, 0), (7, 1), (20, table.row_width - 1), (59, table.row_width // 2)):
        ends = []
        for sign in (1, -1):
            rows = stored.rows.copy()
            rows[item, column] += sign * step
            vectors = table.compose(replace(stored, rows=rows))[0].astype(np.float64)
            ends.append(float((vectors * by_vectors).sum()))
        difference = (ends[0] - ends[1]) / (2.0 * step)
        assert difference == pytest.approx(by_rows[item, column], rel=0.01, abs=0.01)


def test_pep_shrinks_and_pays_for_thresholds() -> None:
    table = built("pep")
    stored, by_vectors = situation(table)
    rows, pieces, owner = leaves(stored)
    share = 0.25 / torch.clamp(known(stored), min=0.125)
    chance = torch.sigmoid(pieces[:, :-1])[owner]
    vectors = torch.sign(rows) * torch.relu(rows.abs() - chance * share[:, None])
    paid = -(0.05 * chance).sum()
    assert 0.1 < float((vectors == 0).double().mean()) < 0.9
    compared(table, stored, by_vectors, (vectors, rows, pieces), paid)


def test_pep_when_pruning_is_over_lets_what_is_pruned_decay() -> None:
    table = built("pep")
    stored, by_vectors = situation(table)
    stored.rows[:, ::2] = 0.005
    stored.pieces[:, -1] = 1.0
    vectors, tape = table.compose(stored)
    by_rows, by_pieces = table.backward(tape, by_vectors)
    assert not vectors[:, ::2].any()
    assert np.allclose(by_rows[:, ::2], 0.3 * 0.005)
    assert np.array_equal(by_rows[vectors != 0], by_vectors[vectors != 0])
    assert not by_pieces.any()


def test_amtl_goes_straight_through_its_choice() -> None:
    table = built("amtl")
    stored, by_vectors = situation(table, price=-8.0)
    rows, pieces, owner = leaves(stored)
    familiar = known(stored)
    others = torch.tensor(stored.others, dtype=torch.float64)
    logs = [torch.log2(part + 2.0**-6) / 3.0 + 1.0 for part in (familiar, others)]
    inputs = torch.stack([*logs, torch.ones(N, dtype=torch.float64)], dim=1)
    alpha = torch.sigmoid(4.0 * logs[0])[:, None]
    hidden, n_outputs = 6, SIZE + 1
    n = hidden * (3 + n_outputs) + n_outputs
    blended = torch.zeros((N, n_outputs), dtype=torch.float64)
    for number, part in enumerate((alpha, 1.0 - alpha)):
        own = pieces[owner, number * n : (number + 1) * n]
        first = own[:, : 3 * hidden].reshape(N, 3, hidden)
        second = own[:, 3 * hidden : -n_outputs].reshape(N, hidden, n_outputs)
        inside = torch.relu(torch.einsum("ni,nih->nh", inputs, first))
        blended = blended + part * (
            torch.einsum("nh,nho->no", inside, second) + own[:, -n_outputs:]
        )
    slope = torch.arange(n_outputs, dtype=torch.float64) / SIZE
    chances = torch.softmax(blended + pieces[owner, -1:].detach() * slope, dim=1)
    hard = torch.nn.functional.one_hot(torch.clamp(chances.argmax(1), min=1), n_outputs)
    straight = hard + chances - chances.detach()
    prefixes = torch.tril(torch.ones((n_outputs, n_outputs), dtype=torch.float64))[:, :-1]
    prefixes = torch.cat([torch.zeros((1, SIZE), dtype=torch.float64), prefixes[:-1]])
    # A width of k keeps k columns: the hard choice decides the vector, the soft one its gradient.
    vectors = rows * (straight @ prefixes)
    assert len(torch.unique(hard.argmax(1))) > 1
    compared(table, stored, by_vectors, (vectors, rows, pieces), 0.0)


def test_autoemb_mixes_prefixes() -> None:
    table = built("autoemb")
    stored, by_vectors = situation(table, price=-5.0)
    rows, pieces, _ = leaves(stored)
    logits = torch.tensor(table.logits(stored), dtype=torch.float64)
    candidates = torch.tensor(table.candidates)
    alpha = torch.softmax(logits - 5.0 * candidates / SIZE, dim=1)
    share = torch.stack([alpha[:, candidates > j].sum(1) for j in range(SIZE)], dim=1)
    share[:, 0] = 1.0
    assert float(share[:, -1].min()) < 0.9
    compared(table, stored, by_vectors, (rows * share, rows, pieces), 0.0)


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, above: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(above)
        return (above > 0).double()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        far = ctx.saved_tensors[0].abs()
        slope = torch.where(far <= 0.4, 2 - 4 * far, torch.where(far <= 1.0, 0.4, 0.0))
        return gradient * slope


def test_optembed_gates_by_a_surrogate() -> None:
    table = built("optembed")
    stored, by_vectors = situation(table, price=0.0)
    stored.pieces[:, :8] = np.arange(8)
    stored.pieces[:, 8:16] += 1.2
    rows, pieces, owner = leaves(stored)
    group = torch.bucketize(known(stored), EDGES, right=True)
    unit = 0.5 / np.sqrt(SIZE) * np.sqrt(2.0 / np.pi)
    threshold = pieces[owner, 8 + group]
    gate = _Gate.apply(rows.abs().mean(1) / unit - threshold)
    prefix = torch.arange(SIZE) < torch.clamp(group, min=1)[:, None]
    assert 0.1 < float(gate.detach().mean()) < 0.9
    pull = (1e-3 * torch.exp(-threshold)).sum()
    compared(table, stored, by_vectors, (rows * prefix * gate[:, None], rows, pieces), pull)


def test_sseds_adds_up_how_much_each_column_of_a_group_matters() -> None:
    table = built("sseds")
    stored, by_vectors = situation(table)
    by_pieces = table.backward(table.compose(stored)[1], by_vectors)[1]
    rows, _, owner = leaves(stored)
    group = torch.bucketize(known(stored), EDGES, right=True)
    for peer in range(PEERS):
        masks = torch.ones((8, SIZE), dtype=torch.float64, requires_grad=True)
        here = owner == peer
        loss = (masks[group[here]] * rows[here].detach() * torch.tensor(by_vectors)[here]).sum()
        loss.backward()
        assert masks.grad is not None
        wanted = -1e-3 * masks.grad.abs().numpy().ravel()
        np.testing.assert_allclose(by_pieces[peer, 8 * SIZE :], wanted, rtol=1e-3, atol=1e-6)
    assert not by_pieces[:, : 8 * SIZE].any()


def test_the_agents_networks_by_torch() -> None:
    rng = np.random.default_rng(0)
    net = rng.normal(0.0, 0.5, (3 + 2) * 16 + 1).astype(np.float32)
    inputs = rng.normal(size=(9, 3)).astype(np.float32)
    errors = rng.normal(size=9).astype(np.float32)
    weights = torch.tensor(net, requires_grad=True)
    seen = torch.tensor(inputs, requires_grad=True)
    hidden = torch.relu(seen @ weights[:48].reshape(3, 16) + weights[48:64])
    outputs = hidden @ weights[64:80] + weights[80]
    (outputs * torch.tensor(errors)).sum().backward()
    found, inside = _forward(net, inputs)
    by_weights, by_inputs = _backward(net, inputs, inside, errors)
    assert weights.grad is not None
    assert seen.grad is not None
    np.testing.assert_allclose(found, outputs.detach().numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(by_weights, weights.grad.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(by_inputs, seen.grad.numpy(), rtol=1e-4, atol=1e-5)


def test_the_agent_learns_which_action_is_rewarded() -> None:
    rng = np.random.default_rng(1)
    agent = Agent(n_state=3)
    weights = agent.initial(rng)
    state = rng.random((256, 3)).astype(np.float32)
    for _ in range(60):
        action = np.clip(agent.act(weights, state) + rng.normal(0.0, 0.3, 256), -1.0, 1.0)
        reward = -np.square(action - 0.5) * 0.1
        seen = Transitions(
            state=state,
            action=action.astype(np.float32),
            reward=reward.astype(np.float32),
            after=state,
        )
        weights = agent.learned(weights, seen, steps=20, rng=rng)
    assert np.abs(agent.act(weights, state) - 0.5).mean() < 0.25
