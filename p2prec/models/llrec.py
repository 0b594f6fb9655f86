"""LLRec over any item table: a FastGRNN cell over the recent items, taught by larger models.

    a_t = W x_t + U h_(t-1)
    z_t = sigmoid(a_t + b_z),   c_t = tanh(a_t + b_h)
    h_t = (zeta (1 - z_t) + nu) * c_t + z_t * h_(t-1)
    taste = s <h_T, v_j>

Wang et al., WWW 2020 (next-place recommendation on mobile devices): an embedding table in
tensor-train form, a FastGRNN cell (Kusupati et al., NeurIPS 2018, section 3: one ``W`` and one
``U`` for gate and candidate, ``zeta`` and ``nu`` between 0 and 1), and a teacher with more at hand.
The sigmoids of two shared numbers are ``zeta`` and ``nu``. Any table may hold ``v``; its natural
one is the tensor train.

The teacher is no server here: whoever learns together by ``mac`` (or ``d_dist``, ``dard``) learns
from the soft decisions of its neighbours, whatever model they run, as lessons of every step. The
paper's loss for that is not public; ours is the cross entropy against the mean of the decisions.
Ours too: ``W`` starts at the identity and ``U`` at zero, so that ``h`` starts as a fading sum of
the recent vectors, which makes sense before anything was learned; and ``v`` in both roles.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from p2prec.models.embedded import EmbeddedModel
from p2prec.models.layers import times, times_back
from p2prec.models.losses import sigmoid
from p2prec.models.moments import Moment
from p2prec.models.recommender import Task
from p2prec.models.tabled import Floats, Vectors
from p2prec.models.taste import Batch, Parts, by_peer

_KEEP = 1.5  # of b_z, where it starts: what came three items ago is half forgotten
_ZETA, _NU = 1.0, -4.0  # before the sigmoid, as in FastGRNN
_SCALE = 8.0  # of s


class LLRec(EmbeddedModel):
    """A small recurrent cell over the recent items."""

    family = "llrec"
    tasks = frozenset({Task.RANKING, Task.CLICK})  # where one has been says nothing of a rating
    reads_past = True

    def shapes(self, size: int) -> Mapping[str, tuple[int, ...]]:
        """The cell's, and the scale of the product."""
        return {
            "W": (size, size),
            "U": (size, size),
            "b_z": (size,),
            "b_h": (size,),
            "scalars": (3,),  # zeta, nu before the sigmoid, and s
        }

    def initial_own(self, rng: np.random.Generator) -> Floats:
        """A fading sum."""
        del rng
        own = np.zeros(self.own_layout.size, np.float32)
        self.own_layout.view(own, "W")[...] = np.eye(self.size, dtype=np.float32)
        self.own_layout.view(own, "b_z")[...] = _KEEP
        self.own_layout.view(own, "scalars")[...] = (_ZETA, _NU, _SCALE)
        return own

    def taste(self, batch: Batch) -> tuple[Floats, Any]:
        """Products with the last state."""
        scale = self.own_layout.views(batch.dense, "scalars")[batch.owner, 2]
        states = self._states(batch)
        state = states[-1][0]
        products = np.einsum("nd,nkd->nk", state, batch.vectors)
        return scale[:, None] * products, (states, products)

    def taste_back(self, batch: Batch, tape: Any, errors: Floats) -> Parts:
        """Back through time."""
        states, products = tape
        owner, n_peers = batch.owner, len(batch.dense)
        by_dense = np.zeros_like(batch.dense)
        scalars = self.own_layout.views(batch.dense, "scalars")
        by_scalars = np.zeros((len(owner), 3), np.float32)
        by_scalars[:, 2] = (errors * products).sum(1)
        scaled = errors * scalars[owner, 2, None]
        by_state = np.einsum("nk,nkd->nd", scaled, batch.vectors)
        by_past, recurrent = self._back_through(batch, states, by_state, by_scalars)
        gates = sigmoid(scalars[:, :2])
        by_scalars[:, :2] *= (gates * (1 - gates))[owner]
        by_x, by_input = times_back(
            batch.past, self.own_layout.views(batch.dense, "W"), owner, by_past
        )
        for name, gradient in {"W": by_input, "scalars": by_scalars, **recurrent}.items():
            summed = gradient if name == "W" else by_peer(owner, gradient, n_peers)
            by_dense[:, self.own_layout.part(name)] += summed.reshape(n_peers, -1)
        return Parts(
            vectors=scaled[:, :, None] * states[-1][0][:, None],
            user=np.zeros_like(batch.user),
            dense=by_dense,
            past=by_x,
        )

    def tastes(self, asked: Batch, source: Vectors, moment: Moment | None, n: int) -> Floats:
        """One product for all."""
        del moment, n
        scale = self.own_layout.view(asked.dense[0], "scalars")[2]
        return source.dots(scale * self._states(asked)[-1][0][0])

    def _states(self, batch: Batch) -> list[tuple[Floats, Floats, Floats]]:
        """State, gate and candidate after each item, each of shape ``(n, size)``; zeros first."""
        owner, layout = batch.owner, self.own_layout
        recurrent = layout.views(batch.dense, "U").transpose(0, 2, 1)[owner]
        b_z, b_h = (layout.views(batch.dense, name)[owner] for name in ("b_z", "b_h"))
        zeta, nu = sigmoid(layout.views(batch.dense, "scalars")[owner, :2]).T[:, :, None]
        inputs = times(batch.past, layout.views(batch.dense, "W"), owner)
        state = np.zeros((len(owner), self.size), np.float32)
        states = [(state, state, state)]
        for t in range(batch.past.shape[1]):
            both = inputs[:, t] + np.matmul(state[:, None], recurrent)[:, 0]
            gate, candidate = sigmoid(both + b_z), np.tanh(both + b_h)
            fresh = (zeta * (1 - gate) + nu) * candidate + gate * state
            state = np.where(batch.held[:, t, None], fresh, state)
            states.append((state, gate, candidate))
        return states

    def _back_through(
        self,
        batch: Batch,
        states: list[tuple[Floats, Floats, Floats]],
        by_state: Floats,
        by_scalars: Floats,
    ) -> tuple[Floats, dict[str, Floats]]:
        """Gradients by ``W x_t``, shape ``(n, length, size)``, and by example of what recurs.

        Args:
            batch: As of ``taste``.
            states: Of ``_states``.
            by_state: By the last state.
            by_scalars: Shape ``(n, 3)``; those by ``zeta`` and ``nu`` are added.
        """
        owner, layout = batch.owner, self.own_layout
        recurrent = layout.views(batch.dense, "U")[owner]
        zeta, nu = sigmoid(layout.views(batch.dense, "scalars")[owner, :2]).T[:, :, None]
        by_inputs = np.zeros_like(batch.past)
        by_u = np.zeros_like(recurrent)
        by_z, by_h = np.zeros_like(by_state), np.zeros_like(by_state)
        for t in range(batch.past.shape[1] - 1, -1, -1):
            before = states[t][0]
            _, gate, candidate = states[t + 1]
            held = batch.held[:, t, None]
            by_fresh = by_state * held
            by_scalars[:, 0] += (by_fresh * (1 - gate) * candidate).sum(1)
            by_scalars[:, 1] += (by_fresh * candidate).sum(1)
            by_gate = by_fresh * (before - zeta * candidate) * gate * (1 - gate)
            by_candidate = by_fresh * (zeta * (1 - gate) + nu) * (1 - candidate * candidate)
            both = by_gate + by_candidate
            by_z += by_gate
            by_h += by_candidate
            by_inputs[:, t] = both
            by_u += both[:, :, None] * before[:, None]
            by_state = np.where(held, by_fresh * gate, by_state)
            by_state += np.matmul(both[:, None], recurrent)[:, 0]
        return by_inputs, {"U": by_u, "b_z": by_z, "b_h": by_h}
