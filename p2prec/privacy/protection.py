"""What is done to a payload before it leaves.

Which rows a model update names is the list of places that its sender visited. So every update
also names *pseudo items*: places of the same kind nearby, with made-up changes of the same size.
They are fixed for a device and a realm, since fresh ones are removed by intersecting rounds.
Row changes are clipped, and Gaussian noise may be added. None of this is a guarantee without
noise, and the ledger says so.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from p2prec.collaboration.payload import ModelUpdate, Payload
from p2prec.collaboration.updates import said_popularity
from p2prec.models.geo import nearest_alike
from p2prec.models.next_place_features import Timeline
from p2prec.models.table import OTHERS
from p2prec.training.config import ProtectionConfig
from p2prec.training.knowledge import Knowledge

_NEARBY = 40  # a pseudo item is one of so many nearest places of the same category


class Protection:
    """The protection of one device.

    Args:
        config: The owner's or the scenario's settings.
        knowledge: What the peer learned; read only.
        device_seed: Secret of the device, so that nobody can compute its pseudo items.
    """

    def __init__(self, config: ProtectionConfig, knowledge: Knowledge, *, device_seed: int) -> None:
        self._config = config
        self._knowledge = knowledge
        self._device_seed = device_seed
        self._fakes: tuple[Timeline, dict[int, list[int]]] | None = None

    def protect(self, payload: Payload, *, rng: np.random.Generator) -> Payload:
        """The payload that may leave.

        Soft predictions and reference sequences pass as they are: they were made from
        desensitised sequences.
        """
        if self._config.method == "none" or not isinstance(payload, ModelUpdate):
            return payload
        return self._noised(self._clipped(self._hidden(payload)), rng)

    def shown_places(self) -> NDArray[np.int64]:
        """Places that a payload may show as known, shape ``(n,)``, ascending."""
        own = self._knowledge.timeline.own.astype(np.int64)
        if self._config.method == "none":
            return own
        made_up = [fake for fakes in self.pseudo_items().values() for fake in fakes]
        return np.unique(np.concatenate([own, np.array(made_up, np.int64)]))

    def pseudo_items(self) -> dict[int, list[int]]:
        """Fixed made-up places for each place that the owner knows; none of them is known."""
        timeline = self._knowledge.timeline
        if self._fakes is None or self._fakes[0] is not timeline:
            self._fakes = timeline, self._made_up(timeline.own)
        return self._fakes[1]

    def _made_up(self, own: NDArray[np.int32]) -> dict[int, list[int]]:
        catalogue = self._knowledge.catalogue
        taken = set(own.tolist())
        fakes: dict[int, list[int]] = {}
        for place in own.tolist():
            # One stream a place: a new visit adds pseudo items and keeps the earlier ones.
            rng = np.random.default_rng([self._device_seed, place])
            wanted = int(self._config.pseudo_items) + int(
                rng.random() < self._config.pseudo_items % 1
            )
            drawn = rng.permutation(nearest_alike(catalogue, place, _NEARBY))[:wanted]
            fakes[place] = [int(i) for i in drawn if int(i) not in taken]
            taken.update(fakes[place])
        return fakes

    def _hidden(self, update: ModelUpdate) -> ModelUpdate:
        """Each pseudo item is there when its place is, and looks like it."""
        fakes = self.pseudo_items()
        pairs = [
            (row, fake)
            for row, place in enumerate(update.rows.tolist())
            for fake in fakes.get(place, ())
        ]
        if not pairs:
            return update
        like = np.array([row for row, _ in pairs])
        made_up = np.array([fake for _, fake in pairs])
        order = np.argsort(made_up)
        like, made_up = like[order], made_up[order]
        initial = self._knowledge.table.initial
        change = update.values[like] - initial[update.rows[like]]
        rng = np.random.default_rng([self._device_seed, 1])
        learned = np.delete(change, change.shape[1] + OTHERS, axis=1)
        direction = rng.standard_normal(change.shape)
        direction[:, OTHERS] = 0.0
        direction *= (np.linalg.norm(learned, axis=1) / np.linalg.norm(direction, axis=1))[:, None]
        values = initial[made_up] + direction
        # What an honest visitor would say of the place: copied hearsay would mislead everybody.
        values[:, OTHERS] = said_popularity(self._knowledge.table.gather(made_up), visited=1.0)
        kept = ~np.isin(update.rows, made_up)
        rows = np.concatenate([update.rows[kept], made_up.astype(np.uint32)])
        order = np.argsort(rows)
        return _replaced(
            update,
            rows=rows[order],
            values=np.concatenate([update.values[kept], values.astype(np.float32)])[order],
            evidence=np.concatenate([update.evidence[kept], update.evidence[like]])[order],
        )

    def _clipped(self, update: ModelUpdate) -> ModelUpdate:
        if self._config.clip_norm <= 0:
            return update
        initial = self._knowledge.table.initial[update.rows]
        change = update.values - initial
        length = np.maximum(np.linalg.norm(change, axis=1), 1e-12)
        scale = np.minimum(1.0, self._config.clip_norm / length)
        return _replaced(update, values=(initial + change * scale[:, None]).astype(np.float32))

    def _noised(self, update: ModelUpdate, rng: np.random.Generator) -> ModelUpdate:
        if self._config.noise_multiplier <= 0:
            return update
        # Replacing the whole history moves a clipped row by at most twice the clip.
        sd = self._config.noise_multiplier * 2.0 * self._config.clip_norm
        noise = rng.normal(0.0, sd, update.values.shape).astype(np.float32)
        return _replaced(update, values=update.values + noise)


def _replaced(
    update: ModelUpdate,
    *,
    values: NDArray[np.float32],
    rows: NDArray[np.uint32] | None = None,
    evidence: NDArray[np.float32] | None = None,
) -> ModelUpdate:
    return ModelUpdate(
        round=update.round,
        model=update.model,
        rows=update.rows if rows is None else rows,
        values=values,
        evidence=update.evidence if evidence is None else evidence,
        dense=update.dense,
        degree=update.degree,
    )
