"""What is done to a payload before it leaves.

Which rows a model update names is the list of places that its sender visited. So every update
also names *pseudo items*: places of the same kind nearby (of what lies nowhere, any of the same
kind that does so too), each with the change of the place that it stands beside. In length alone it
would not do: all own rows of a factorisation move along its owner's taste and a bias rises where
the owner goes, so that whoever looks at directions would find what is made up
(``tests/unit/privacy``). Which rows are a pair is seen, which of the two is not. They are fixed for
a device and a realm, since fresh ones are removed by intersecting rounds.
Row changes are clipped, and Gaussian noise may be added. None of this is a guarantee without
noise, and the ledger says so.

Where items have no rows but share pieces of an item table, the pieces that have moved point at the
owner's places as rows would. There the pieces of a message are moved as well as if the pseudo items
had been learned of, by as much as their places have moved.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from p2prec.collaboration.payload import ModelUpdate, Payload
from p2prec.collaboration.updates import said_popularity
from p2prec.draws import normals
from p2prec.embeddings.table import Device, Stored
from p2prec.models.geo import drawn_alike
from p2prec.models.model import Model
from p2prec.models.moments import Timeline
from p2prec.models.table import OTHERS
from p2prec.models.tabled import Tabled
from p2prec.training.config import ProtectionConfig
from p2prec.training.knowledge import Group, Knowledge, grouped

_LONGEST_STEP = 8.0  # of pieces, in parts of their gradient
_NEARBY = 40  # a pseudo item is one of so many nearest places of the same category


@dataclass(frozen=True, slots=True, kw_only=True)
class PseudoItems:
    """Fixed made-up places of one device; none of them is known to its owner.

    Attributes:
        made_up: Shape ``(n,)``, ascending.
        like: Shape ``(n,)``, the place that each stands beside.
    """

    made_up: NDArray[np.int64]
    like: NDArray[np.int64]


class Protection:
    """The protection of one device.

    Args:
        config: The owner's or the scenario's settings.
        knowledge: What the peer learned; read only.
        device_seed: Secret of the device, so that nobody can compute its pseudo items.
    """

    __slots__ = ("_config", "_device_seed", "_fakes", "_knowledge")

    def __init__(self, config: ProtectionConfig, knowledge: Knowledge, *, device_seed: int) -> None:
        self._config = config
        self._knowledge = knowledge
        self._device_seed = device_seed
        self._fakes: tuple[Timeline, PseudoItems] | None = None

    @property
    def config(self) -> ProtectionConfig:
        """The settings."""
        return self._config

    @property
    def knowledge(self) -> Knowledge:
        """What the peer learned."""
        return self._knowledge

    def shown_places(self) -> NDArray[np.int64]:
        """Places that a payload may show as known, shape ``(n,)``, ascending."""
        own = self._knowledge.timeline.own.astype(np.int64)
        if self._config.method == "none":
            return own
        return np.union1d(own, self.pseudo_items().made_up)

    def pseudo_items(self) -> PseudoItems:
        """Fixed made-up places beside those that the owner knows."""
        timeline = self._knowledge.timeline
        if self._fakes is None or self._fakes[0] is not timeline:
            self._fakes = timeline, self._made_up(timeline.own)
        return self._fakes[1]

    def _made_up(self, own: NDArray[np.int32]) -> PseudoItems:
        catalogue = self._knowledge.catalogue
        taken = set(own.tolist())
        found: list[tuple[int, int]] = []
        for place in own.tolist():
            # One stream a place: a new visit adds pseudo items and keeps the earlier ones.
            rng = np.random.default_rng([self._device_seed, place])
            wanted = int(self._config.pseudo_items) + int(
                rng.random() < self._config.pseudo_items % 1
            )
            for fake in drawn_alike(catalogue, place, _NEARBY, wanted, rng):
                if fake not in taken:
                    found.append((fake, place))
                    taken.add(fake)
        found.sort()
        return PseudoItems(
            made_up=np.array([fake for fake, _ in found], np.int64),
            like=np.array([place for _, place in found], np.int64),
        )


def protect_together(
    devices: Sequence[Protection],
    payloads: Sequence[Sequence[Payload]],
    *,
    keys: NDArray[np.uint64],
) -> list[Sequence[Payload]]:
    """What may leave each device.

    Soft predictions and reference sequences pass as they are: they were made from desensitised
    sequences.

    Args:
        devices: Different ones; no answer depends on the others.
        payloads: What each wants to send.
        keys: Of a stream of each for the noise, as of ``p2prec.draws``.
    """
    result = [list(said) for said in payloads]
    alike = defaultdict(list)
    for number, (device, said) in enumerate(zip(devices, payloads, strict=True)):
        if device.config.method != "none":
            for place, payload in enumerate(said):
                if isinstance(payload, ModelUpdate):
                    alike[device.config, place].append((number, payload))
    for (config, place), updates in alike.items():
        known = [devices[number].knowledge for number, _ in updates]
        for group in grouped(known):
            numbers = [updates[i][0] for i in group.members]
            safe = _protected(
                config,
                group,
                [devices[number] for number in numbers],
                [updates[i][1] for i in group.members],
                keys[numbers],
            )
            for number, update in zip(numbers, safe, strict=True):
                result[number][place] = update
    return list(result)


@dataclass(slots=True, kw_only=True)
class _Rows:
    """Rows of the updates of a group; ascending keys, as of its stack."""

    keys: NDArray[np.int64]
    values: NDArray[np.float32]
    evidence: NDArray[np.float32]


def _protected(
    config: ProtectionConfig,
    group: Group,
    devices: Sequence[Protection],
    updates: Sequence[ModelUpdate],
    keys: NDArray[np.uint64],
) -> list[ModelUpdate]:
    n_items, initial = group.stack.n_items, group.stack.shelf.initial
    owner = np.repeat(np.arange(len(updates)), [len(u.rows) for u in updates])
    rows = _Rows(
        keys=np.concatenate([u.rows for u in updates]).astype(np.int64) + owner * n_items,
        values=np.concatenate([u.values for u in updates]),
        evidence=np.concatenate([u.evidence for u in updates]),
    )
    rows = _hidden(group, devices, rows)
    owner, item = np.divmod(rows.keys, n_items)
    if config.clip_norm > 0:
        start = initial.take(item, axis=0)
        change = rows.values - start
        length = np.sqrt(np.einsum("nd,nd->n", change, change))
        scale = config.clip_norm / np.maximum(length, np.float32(1e-12))
        rows.values = start + change * np.minimum(scale, 1.0).astype(np.float32)[:, None]
    if config.noise_multiplier > 0:
        # Replacing the whole history moves a clipped row by at most twice the clip.
        sd = config.noise_multiplier * 2.0 * config.clip_norm
        width = rows.values.shape[1]
        counters = item[:, None] * width + np.arange(width)
        rows.values += (sd * normals(keys[owner, None], counters)).astype(np.float32)
    ends = np.searchsorted(rows.keys, np.arange(1, len(updates) + 1) * n_items).tolist()
    named = item.astype(np.uint32)
    return [
        ModelUpdate(
            round=update.round,
            model=update.model,
            rows=named[start:end],
            values=rows.values[start:end],
            evidence=rows.evidence[start:end],
            dense=_hidden_pieces(device, update.dense),
            degree=update.degree,
        )
        for device, update, start, end in zip(devices, updates, [0, *ends[:-1]], ends, strict=True)
    ]


def _hidden_pieces(device: Protection, dense: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shared parameters in which pseudo items have moved as far as the places that they are like.

    Args:
        device: Whose.
        dense: Of its update.
    """
    model, fakes = device.knowledge.model, device.pseudo_items()
    if not _shares_pieces(model) or not len(fakes.made_up):
        return dense
    part, table = model.layout.part("pieces"), model.table
    now, start = dense[part], table.initial_pieces()

    def vectors(items: NDArray[np.int64], pieces: NDArray[np.float32]) -> tuple[Any, Any]:
        rows, others = np.zeros((len(items), 0), np.float32), np.zeros(len(items), np.float32)
        asked = Device(items=items, rows=rows, others=others, pieces=pieces)
        return table.compose(Stored.of_one(asked))

    wanted = vectors(fakes.like, now)[0] - vectors(fakes.like, start)[0]
    moved = np.linalg.norm(wanted, axis=1)
    before, tape = vectors(fakes.made_up, now)
    by_pieces = table.backward(tape, wanted)[1][0]
    after = vectors(fakes.made_up, now + by_pieces)[0]
    reached = float(np.linalg.norm(after - before, axis=1).mean())
    # Pieces are shared and multiplied, so that a step along them goes another way than asked for.
    scale = min(float(moved.mean()) / max(reached, 1e-9), _LONGEST_STEP)
    result = dense.copy()
    result[part] += np.float32(scale) * by_pieces
    return result


def _hidden(group: Group, devices: Sequence[Protection], rows: _Rows) -> _Rows:
    """Each pseudo item is there when its place is, and looks like it."""
    stack = group.stack
    fakes = [device.pseudo_items() for device in devices]
    offset = np.repeat(np.arange(len(fakes)) * stack.n_items, [len(f.made_up) for f in fakes])
    made_up = np.concatenate([f.made_up for f in fakes]) + offset
    place = np.concatenate([f.like for f in fakes]) + offset
    at = np.searchsorted(rows.keys, place)
    said = np.zeros(len(place), np.bool_)
    inside = at < len(rows.keys)
    said[inside] = rows.keys[at[inside]] == place[inside]
    if not said.any():
        return rows
    made_up, like = made_up[said], at[said]
    initial = stack.shelf.initial
    learned = rows.values[like] - initial.take(rows.keys[like] % stack.n_items, axis=0)
    values = initial.take(made_up % stack.n_items, axis=0) + learned
    # What an honest visitor would say of the place: copied hearsay would mislead everybody.
    values[:, OTHERS] = said_popularity(
        stack.gather(made_up)[:, OTHERS], visited=np.ones(len(made_up), np.bool_)
    )
    kept = ~np.isin(rows.keys, made_up)
    keys = np.concatenate([rows.keys[kept], made_up])
    order = np.argsort(keys)
    return _Rows(
        keys=keys[order],
        values=np.concatenate([rows.values[kept], values])[order],
        evidence=np.concatenate([rows.evidence[kept], rows.evidence[like]])[order],
    )


def _shares_pieces(model: Model) -> TypeGuard[Tabled]:
    """Whether its items have no rows, so that pieces alone say what was learned of them."""
    return isinstance(model, Tabled) and not model.table.row_width and model.table.n_pieces > 0
