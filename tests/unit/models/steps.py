"""Steps of chosen examples, as an epoch would make them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from p2prec.models.explored import Explored
from p2prec.models.model import Step
from p2prec.training.knowledge import Knowledge


def step_of(
    peers: Sequence[Knowledge],
    chosen: Sequence[NDArray[np.int64]],
    lessons: Sequence[Explored | None],
    *,
    negatives: int,
) -> Step:
    """One batch of each peer: the interactions ``chosen``."""
    timelines = [peer.timeline for peer in peers]
    owner = np.repeat(np.arange(len(peers)), [len(at) for at in chosen])
    at = np.concatenate(chosen)
    return Step(
        timelines=timelines,
        owner=owner,
        at=at,
        item=np.concatenate([t.item[a] for t, a in zip(timelines, chosen, strict=True)]),
        rating=np.concatenate([t.rating[a] for t, a in zip(timelines, chosen, strict=True)]),
        sampled=peers[0].model.sample(
            timelines,
            owner,
            at,
            negatives=negatives,
            keys=np.arange(len(peers), dtype=np.uint64),
        ),
        lessons=lessons,
    )
