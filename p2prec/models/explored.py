"""Examples of choosing among items: one owner's, and those of several peers as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p2prec.models.moments import Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Explored:
    """Explore examples: situations, candidates of each, and how right each candidate is.

    Attributes:
        moments: ``n`` situations.
        candidates: Shape ``(n, k)``, item rows.
        target: Shape ``(n, k)``, rows sum to one; one-hot for a visit, soft for distillation.
        allowed: Shape ``(n, k)``, false where a candidate must not compete.
        weight: Shape ``(n,)``.
    """

    moments: Sequence[Moment]
    candidates: NDArray[np.int32]
    target: NDArray[np.float32]
    allowed: NDArray[np.bool_]
    weight: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """Explore examples of several peers as one; item ``i`` of peer ``p`` is ``p * n_items + i``.

    Attributes:
        examples: ``n`` of them.
        owner: Shape ``(n,)``, the peer of each.
        offset: Shape ``(n, 1)``, what turns item rows into keys.
        keys: Of all items that the examples name, unique and ascending.
        seen: For each key, how often it was a right answer.
        known: For each key, whether it was a right answer or part of a sequence.
    """

    examples: Explored
    owner: NDArray[np.int64]
    offset: NDArray[np.int64]
    keys: NDArray[np.int64]
    seen: NDArray[np.float32]
    known: NDArray[np.bool_]


def together(parts: Sequence[Explored | None], *, n_items: int) -> Together | None:
    """One part for each peer; None where no peer has any."""
    held = [(peer, part) for peer, part in enumerate(parts) if part is not None]
    if not held:
        return None
    owner = np.repeat([peer for peer, _ in held], [len(part.moments) for _, part in held])
    return keyed(_joined([part for _, part in held]), owner, n_items=n_items)


def keyed(examples: Explored, owner: NDArray[np.int64], *, n_items: int) -> Together:
    """Examples of which each has its owner."""
    offset = (owner * n_items)[:, None]
    sequence = np.stack([m.sequence for m in examples.moments])
    past = (sequence + offset)[sequence >= 0]
    candidates = examples.candidates + offset
    keys = np.unique(np.concatenate([candidates.ravel(), past]))
    seen = np.zeros(len(keys), np.float32)
    np.add.at(seen, np.searchsorted(keys, candidates[examples.target > 0]), 1.0)
    known = seen > 0
    known[np.searchsorted(keys, past)] = True
    return Together(
        examples=examples, owner=owner, offset=offset, keys=keys, seen=seen, known=known
    )


def _joined(parts: Sequence[Explored]) -> Explored:
    """One after the other; shorter rows repeat their first candidate, which must not compete."""
    longest = max(part.candidates.shape[1] for part in parts)
    missing = [((0, 0), (0, longest - part.candidates.shape[1])) for part in parts]
    padded = list(zip(parts, missing, strict=True))
    first = [part.candidates[:, :1].repeat(after, axis=1) for part, (_, (_, after)) in padded]
    return Explored(
        moments=[moment for part in parts for moment in part.moments],
        candidates=np.concatenate(
            [np.hstack([part.candidates, more]) for part, more in zip(parts, first, strict=True)]
        ),
        target=np.concatenate([np.pad(part.target, width) for part, width in padded]),
        allowed=np.concatenate([np.pad(part.allowed, width) for part, width in padded]),
        weight=np.concatenate([part.weight for part in parts]),
    )
