"""What is done to a payload before it leaves.

Which rows a model update names is the list of places that its sender visited. So every update
also names *pseudo items*: places of the same kind nearby (of what lies nowhere, any of the same
kind that does so too). What is said of them is what would have been said had the peer learned of
them all that it learned of the places that they stand beside (``PseudoRows``). A change of the same
length would not do: all own rows of a factorisation move along its owner's taste and a bias rises
where the owner goes, so that whoever looks at directions would find what is made up
(``tests/unit/privacy``). Nor would a copy of the other place's row, which holds what others learned
of another place: everybody averages it. Which rows are a pair is seen, which of the two is not.
They are drawn once and kept, since fresh ones are removed by intersecting rounds.
Row changes are clipped, and Gaussian noise may be added. None of this is a guarantee without
noise, and the ledger says so.

Where items have no rows but share pieces of an item table, the pieces that have moved point at the
owner's places as rows would. There the pieces of a message are moved as well as if the pseudo items
had been learned of, by as much as their places have moved.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from p2prec.collaboration.method import Sends
from p2prec.collaboration.payload import ModelUpdate, Payload
from p2prec.collaboration.updates import taken_rows
from p2prec.draws import normals
from p2prec.embeddings.table import Device, Stored
from p2prec.errors import StoreError
from p2prec.models.geo import alike
from p2prec.models.model import Model
from p2prec.models.moments import Timeline
from p2prec.models.stack import found
from p2prec.models.tabled import Tabled
from p2prec.training.config import ProtectionConfig
from p2prec.training.knowledge import Group, Knowledge, grouped
from p2prec.training.pseudo_rows import PseudoRows

_LONGEST_STEP = 8.0  # of pieces, in parts of their gradient
_NEARBY = 40  # a pseudo item is one of so many nearest places of the same category
_FIRST, _FEWEST = 8, 4  # before anything is heard, one place of so many is named; at least so many
_UNHEARD = 0.1  # popularity of what nobody is said to go to, in parts of the mean
_MOST = 0.5  # chance of any place to be a pseudo item beside another
_SHARPNESS = 8.0  # of the likeness of a pseudo item's popularity to that of its place
_NOBODY = 1e-9
_NAMED = "pseudo_named"
_PAIRS = "pseudo_pairs"


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
        knowledge: What the peer learned; its pseudo rows are kept here.
        device_seed: Secret of the device, so that nobody can compute its pseudo items.
        sends: What its payloads are made of.
    """

    __slots__ = (
        "_config", "_device_seed", "_gradual", "_in_order", "_knowledge", "_named", "_names",
        "_pairs", "_seen",
    )  # fmt: skip

    def __init__(
        self, config: ProtectionConfig, knowledge: Knowledge, *, device_seed: int, sends: Sends
    ) -> None:
        self._config = config
        self._knowledge = knowledge
        self._device_seed = device_seed
        self._names = sends in {"parameters", "both", "sessions"}
        # Popularity comes with updates of the same model, which need not be there where both kinds
        # of payload are sent; and shared pieces name places without any row.
        self._gradual = (
            sends == "parameters"
            and config.pseudo_items > 0
            and not _shares_pieces(knowledge.model)
        )
        self._in_order = sends == "sessions" and config.pseudo_items > 0
        self._named = np.empty(0, np.int64)  # ascending own places that updates may name
        # Shape ``(n, 2)``, places and what has ever stood beside each: also what the owner has come
        # to visit since, or the place would stand alone.
        self._pairs = np.empty((0, 2), np.int64)
        self._seen: Timeline | None = None

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
        if self._config.method == "none":
            return self._knowledge.timeline.own.astype(np.int64)
        made_up = self.pseudo_items().made_up
        return np.union1d(self._named, made_up)

    def among(self, places: NDArray[np.integer]) -> NDArray[np.int64]:
        """In what some own places may be shown, shape ``(n,)``, ascending.

        Args:
            places: Those that may not be named yet are left out, and those beside which there is
                nothing to show.
        """
        if self._config.method == "none":
            return np.unique(places).astype(np.int64)
        self.pseudo_rows()
        named = np.intersect1d(places, self._named)
        pairs = self._pairs[np.isin(self._pairs[:, 0], named)]
        if self._config.pseudo_items >= 1:  # of some kinds there are no others
            named = np.intersect1d(named, pairs[:, 0])
        return np.union1d(named, pairs[:, 1])

    def pseudo_items(self) -> PseudoItems:
        """Fixed made-up places beside those that the owner knows and updates may name."""
        rows = self.pseudo_rows()
        return PseudoItems(made_up=rows.made_up, like=rows.like[rows.is_made_up])

    def before_training(self) -> None:
        """What is learned of the owner's places from now on is learned of pseudo items too."""
        if self._config.method != "none" and self._names:
            rows = self.pseudo_rows()
            self._name(rows)
            rows.before_training(self._knowledge.table)

    def after_training(self) -> None:
        """Until now."""
        if self._knowledge.pseudo_rows is not None:
            self._knowledge.pseudo_rows.after_training(self._knowledge.table)

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Named arrays, enough for ``restore``; copies."""
        rows = self._knowledge.pseudo_rows
        if rows is None:
            return {}
        return {**rows.state(), _NAMED: self._named.copy(), _PAIRS: self._pairs.copy()}

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Go on from an earlier run, after what was learned has been restored.

        Raises:
            StoreError: The state belongs to another model or realm.
        """
        try:
            self._go_on(state, PseudoRows.restore)
        except (KeyError, ValueError) as error:
            raise StoreError(f"what was stored of pseudo items is not whole: {error}") from None

    def show_again(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Go on with the pseudo items of an earlier run with another model.

        Others would show by being others what had been made up. Nothing is kept of their rows.

        Args:
            state: Of that run; one that is not whole is passed over.
        """
        with suppress(KeyError, ValueError):
            self._go_on(state, PseudoRows.restore_items)

    def _go_on(
        self,
        state: Mapping[str, NDArray[np.generic]],
        restore: Callable[[PseudoRows, Mapping[str, NDArray[np.generic]]], None],
    ) -> None:
        if self._config.method == "none" or _NAMED not in state:
            return
        rows = PseudoRows(self._knowledge.table.initial)
        restore(rows, state)
        made_up = np.stack([rows.like, rows.table.rows.astype(np.int64)], axis=1)[rows.is_made_up]
        pairs = np.asarray(state.get(_PAIRS, made_up), np.int64)  # none in older stores
        n_items = len(rows.table.initial)
        if pairs.ndim != 2 or pairs.shape[1] != 2 or not ((pairs >= 0) & (pairs < n_items)).all():
            raise ValueError("no pairs of this realm")
        self._named = np.unique(np.asarray(state[_NAMED], np.int64))
        self._knowledge.pseudo_rows, self._pairs, self._seen = rows, pairs, None

    def pseudo_rows(self) -> PseudoRows:
        """Of the pseudo items, after all that has come into the history."""
        knowledge = self._knowledge
        timeline, rows = knowledge.timeline, knowledge.pseudo_rows
        if rows is None:
            rows = knowledge.pseudo_rows = PseudoRows(knowledge.table.initial)
        if self._seen is not timeline:
            own = timeline.own.astype(np.int64)
            made_up = rows.made_up
            keys, like = rows.table.rows.astype(np.int64), rows.like
            beside = np.where(rows.is_made_up, like, keys)
            visited = rows.is_made_up & np.isin(keys, own)
            rows.move_in(keys[visited], knowledge.table)
            rows.keep(np.isin(beside, own) & ~visited)
            self._named = np.intersect1d(self._named, own)
            new = np.setdiff1d(own, np.union1d(self._named, rows.waiting))
            rows.wait(new, knowledge.table)
            self._seen = timeline
            # What has been made up so far is named by everybody who looks; it cannot wait now.
            self._name(rows, np.intersect1d(new, made_up))
        return rows

    def _name(self, rows: PseudoRows, at_once: NDArray[np.int64] | None = None) -> None:
        """Let places that wait be named, with pseudo items beside them.

        What is made up has to be gone to by as many as what is real, or whoever knows how many go
        to each place tells them apart. So a peer that has heard nothing of popularity yet names a
        few places only: in a network that is as new as it is, somebody has to begin. Where nothing
        has to be told at once, it goes on as slowly.

        Args:
            rows: Caught up with the history.
            at_once: Places that are named whatever has been heard.
        """
        knowledge, waiting = self._knowledge, rows.waiting
        if not len(waiting):
            return
        naming, heard = waiting, bool(knowledge.table.others.any())
        some = max(_FEWEST, -(-len(knowledge.timeline.own) // _FIRST))
        few = some if heard else max(some - len(self._named), 0)
        if self._in_order:  # what belongs together is told together; and more is heard meanwhile
            naming = waiting[np.argsort(knowledge.timeline.first_of(waiting), kind="stable")]
            naming = naming[:few] if at_once is None else at_once
        elif self._gradual and not heard:
            # What is named is kept, so that no draw has to be made again.
            rng = np.random.default_rng([self._device_seed, len(self._named), len(waiting)])
            naming = rng.permutation(waiting)[:few]
        if at_once is not None:
            naming = np.union1d(naming, at_once)
        if not len(naming):
            return
        drawn = self._drawn(naming, rows)
        rows.show(
            np.array([fake for fake, _ in drawn], np.int64),
            np.array([place for _, place in drawn], np.int64),
            knowledge.table,
        )
        rows.keep(~np.isin(rows.table.rows, naming))
        self._named = np.union1d(self._named, naming)
        new = np.array(drawn, np.int64).reshape(-1, 2)[:, ::-1]
        self._pairs = np.concatenate([self._pairs, new])

    def _drawn(self, places: NDArray[np.int64], rows: PseudoRows) -> list[tuple[int, int]]:
        """Pseudo items for some places, each with the place that it stands beside.

        Each place has a stream of its own: a peer that crashes after it has named places, and has
        met more when it is back, draws the same beside them.
        """
        knowledge = self._knowledge
        table, catalogue = knowledge.table, knowledge.catalogue
        unheard = _UNHEARD * float(table.others.sum()) / len(catalogue) + _NOBODY
        taken = set(knowledge.timeline.own.tolist()) | set(rows.table.rows.tolist())
        own = table.others_of(places).astype(np.float64) + unheard
        drawn: list[tuple[int, int]] = []
        for place, popular in zip(places.tolist(), own.tolist(), strict=True):
            rng = np.random.default_rng([self._device_seed, place])
            n = int(self._config.pseudo_items + rng.random())
            among = alike(catalogue, place, _NEARBY)
            free = [other not in taken for other in among.tolist()]
            n_free = sum(free)
            if not n_free:
                continue
            popularity = table.others_of(among).astype(np.float64) + unheard
            chances = popularity * np.exp(-_SHARPNESS * np.abs(np.log(popularity / popular))) * free
            # Nobody who says of a single place that it is as popular may choose it.
            chances = np.minimum(chances / chances.sum(), _MOST)
            chances += (1.0 - chances.sum()) / n_free * np.array(free)
            # A race of exponential clocks draws as one after the other would; who is not free any
            # more changes nothing about the others.
            clocks = rng.exponential(size=len(among))
            arrival = np.divide(clocks, chances, out=np.full(len(among), np.inf), where=chances > 0)
            for at in np.argsort(arrival, kind="stable")[: min(n, n_free)].tolist():
                drawn.append((int(among[at]), place))
                taken.add(int(among[at]))
        return drawn


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
    together = defaultdict(list)
    for number, (device, said) in enumerate(zip(devices, payloads, strict=True)):
        if device.config.method != "none":
            for place, payload in enumerate(said):
                if isinstance(payload, ModelUpdate):
                    together[device.config, place].append((number, payload))
    for (config, place), updates in together.items():
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

    def take(self, chosen: NDArray[np.generic]) -> _Rows:
        """Some of them, by place or by a mask."""
        return _Rows(
            keys=self.keys[chosen], values=self.values[chosen], evidence=self.evidence[chosen]
        )


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
        replace(
            update,
            rows=named[start:end],
            values=rows.values[start:end],
            evidence=rows.evidence[start:end],
            dense=_hidden_pieces(device, update.dense),
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
    """What waits is not named; each pseudo item is there when its place is.

    It says what its visitor would say.
    """
    n_items = group.stack.n_items
    shown = [device.pseudo_rows() for device in devices]
    waiting = np.concatenate([one.waiting + i * n_items for i, one in enumerate(shown)])
    if len(waiting):
        rows = rows.take(~np.isin(rows.keys, waiting))
    made_up = np.concatenate([one.made_up + i * n_items for i, one in enumerate(shown)])
    like = np.concatenate([one.like[one.is_made_up] + i * n_items for i, one in enumerate(shown)])
    said = found(rows.keys, like)[1]
    if not said.any():
        return rows
    told = [taken_rows(one.table.shelf, one.stack.slots[one.is_made_up]) for one in shown]
    made_up = made_up[said]
    rows = rows.take(~np.isin(rows.keys, made_up))
    all_rows = _Rows(
        keys=np.concatenate([rows.keys, made_up]),
        values=np.concatenate([rows.values, np.concatenate([v for _, v, _ in told])[said]]),
        evidence=np.concatenate([rows.evidence, np.concatenate([e for _, _, e in told])[said]]),
    )
    return all_rows.take(np.argsort(all_rows.keys))


def _shares_pieces(model: Model) -> TypeGuard[Tabled]:
    """Whether its items have no rows, so that pieces alone say what was learned of them."""
    return isinstance(model, Tabled) and not model.table.row_width and model.table.n_pieces > 0
