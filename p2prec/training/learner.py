"""What the peer's life asks of its recommender: train, speak, listen, recommend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from p2prec.collaboration.payload import Payload
from p2prec.data.interactions import History
from p2prec.models.recommender import Context


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A payload that waits for its merge, with what is known of its sender.

    Attributes:
        sender: The sender's peer id, as text.
        payload: Checked against the realm's schema.
        geographic: Geographic similarity of the sender to the owner, 0 to 1.
        semantic: Similarity of category preferences, 0 to 1.
        staleness_rounds: Rounds that the sender was behind; 0 where it is ahead, or counts from
            another beginning.
    """

    sender: str
    payload: Payload
    geographic: float
    semantic: float
    staleness_rounds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingReport:
    """What one round of local training did.

    Attributes:
        loss: Mean over the examples.
        n_examples: Of one pass.
        diverged: Whether anything was no number any more, and went back to its start.
    """

    loss: float
    n_examples: int
    diverged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeReport:
    """What one merge did.

    Attributes:
        weights: Mixing weight by sender; a rejected sender has none.
        rejected: Reason by sender, for payloads that the method could not or did not want to use.
    """

    weights: Mapping[str, float]
    rejected: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """One recommended item.

    Attributes:
        item: Row in the catalogue.
        score: Higher is better; comparable within one answer only.
        reasons: Contribution to the score by named signal, strongest first, such as
            ``("you were here 12 times", 3.1)``.
    """

    item: int
    score: float
    reasons: tuple[tuple[str, float], ...]


class Learner(Protocol):
    """A recommender that trains on one device and learns together with others.

    No method touches a clock, a network or a disk; each is called by one thread at a time, except
    ``recommend`` and ``left``, which may run while another thread trains or merges.
    """

    def train(self, round_: int) -> TrainingReport:
        """One round of local training on the owner's history."""
        ...

    def payloads(self, round_: int, *, degree: int) -> Sequence[Payload]:
        """What is sent to every follower after this round, protection applied; may be empty."""
        ...

    def left(self, payload: Payload) -> None:
        """One of them has left the device, to whomever."""
        ...

    def merge(self, round_: int, received: Sequence[Received]) -> MergeReport:
        """Take in what neighbours sent; idempotent for an empty inbox."""
        ...

    def recommend(self, context: Context, k: int, *, new_only: bool) -> list[Recommendation]:
        """The ``k`` best items; only items that the owner never met where ``new_only``."""
        ...

    def scores(self, context: Context) -> NDArray[np.float32]:
        """Scores of all items, shape ``(n_items,)``."""
        ...

    def add(self, history: History) -> None:
        """Replace the owner's history by a longer one."""
        ...

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Everything a restart needs, as named arrays; rows at their initial values are absent."""
        ...

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Go on from ``state()`` of an earlier run.

        Raises:
            StoreError: The state belongs to another model or realm.
        """
        ...
