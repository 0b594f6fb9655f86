"""What collaboration methods put into messages, before any encoding.

A payload holds plain NumPy arrays. ``peers.codec`` turns it into bytes and back, and checks every
shape, id and number against the realm before a method sees it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p2prec.embeddings.code_update import Mode
from p2prec.limits import MAX_SESSIONS
from p2prec.models.sessions import Told


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUpdate:
    """Rows of the item table that changed, and the shared dense parameters.

    Attributes:
        round: The sender's round.
        model: Name of the model's schema, such as ``"next_place/16"``; other models refuse it.
        rows: Shape ``(n_rows,)``, strictly increasing item rows.
        values: Shape ``(n_rows, width)``: the values of the rows, not their change. Rows that a
            sender does not name are at the realm's initial values.
        evidence: Shape ``(n_rows,)``, how often the row was trained, by the sender or before.
        dense: Shape ``(n_dense,)``, shared dense parameters in the model's order; may be empty.
        degree: Followers of the sender, at least 1, for Metropolis-Hastings weights.
    """

    round: int
    model: str
    rows: NDArray[np.uint32]
    values: NDArray[np.float32]
    evidence: NDArray[np.float32]
    dense: NDArray[np.float32]
    degree: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectedUpdate(ModelUpdate):
    """An update whose dense parameters are those before training, and whither training moves them.

    Who does not know what to do with a direction takes it as any other update.

    Attributes:
        direction: Shape ``(n_directed,)``, of the dense parameters that have one
            (``p2prec.collaboration.gossip_adam.directed``).
    """

    direction: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableUpdate:
    """What a ``ModelUpdate`` says, of a model whose table is one of codes: new words and codes.

    Attributes:
        round: The sender's round.
        model: Name of the model's schema.
        base: Digest of the whole table that is changed, 8 bytes; empty where a table begins.
        mode: Which words give way.
        rows: Shape ``(n_rows,)``, strictly increasing: all items that the sender knows.
        columns: Shape ``(n_rows, 2)``, popularity and bias.
        evidence: Shape ``(n_rows,)``, as of ``ModelUpdate``.
        changed: Shape ``(n_rows,)``, items with other codes than in the table that is changed.
        codes: Shape ``(n_changed, n_books)``, theirs.
        bits: Of a code.
        words: Shape ``(n_books, n_new, size)``.
        dense: Shape ``(n_own + 1,)``, shared dense parameters that are no pieces of the table, and
            the last of its pieces.
        degree: As of ``ModelUpdate``.
    """

    round: int
    model: str
    base: bytes
    mode: Mode
    rows: NDArray[np.uint32]
    columns: NDArray[np.float32]
    evidence: NDArray[np.float32]
    changed: NDArray[np.bool_]
    codes: NDArray[np.uint8]
    bits: int
    words: NDArray[np.float32]
    dense: NDArray[np.float32]
    degree: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceSequence:
    """One desensitised sequence on which peers exchange soft decisions.

    Attributes:
        items: Shape ``(length,)``, item rows, oldest first.
        timestamp_s: Shape ``(length,)``, whole hours since the epoch of a made-up week, in seconds.
    """

    items: NDArray[np.uint32]
    timestamp_s: NDArray[np.int64]


def reference_hash(sequence: ReferenceSequence) -> bytes:
    """Content hash of a reference sequence, 8 bytes."""
    sha = hashlib.sha256(b"p2prec/reference/1")
    sha.update(sequence.items.astype("<u4").tobytes())
    sha.update(sequence.timestamp_s.astype("<i8").tobytes())
    return sha.digest()[:8]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceSet:
    """Reference sequences that a peer publishes; spread by gossip, addressed by content."""

    round: int
    sequences: tuple[ReferenceSequence, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftPredictions:
    """The strongest soft decisions of a peer on reference sequences.

    Attributes:
        round: The sender's round.
        references: ``n_refs`` content hashes of reference sequences, 8 bytes each.
        items: Shape ``(n_refs, k)``, item rows, per reference strictly increasing.
        log_probabilities: Shape ``(n_refs, k)``, natural logarithms, at most 0; what is missing
            to one is the mass of all other items.
    """

    round: int
    references: tuple[bytes, ...]
    items: NDArray[np.uint32]
    log_probabilities: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSet:
    """Sessions that a peer passes on, its own and those of others.

    Attributes:
        round: The sender's round.
        sessions: At least one, none of them empty; no arrays, since peers of one process share
            them.
    """

    round: int
    sessions: tuple[Told, ...]


Parameters = ModelUpdate | TableUpdate
Payload = Parameters | ReferenceSet | SoftPredictions | SessionSet


def joined(waiting: Payload, come: Payload) -> Payload:
    """What is left of two payloads of one sender and kind that wait for the same merge.

    Of most the newer one stands for both. A session is told once, so that none may be lost.

    Args:
        waiting: As it is where nothing that has come is of use.
        come: After it, in whatever order they were sent.
    """
    newer, older = (come, waiting) if come.round > waiting.round else (waiting, come)
    if waiting.round == come.round:
        return waiting
    if not isinstance(older, SessionSet) or not isinstance(newer, SessionSet):
        return newer
    both = dict.fromkeys((*newer.sessions, *older.sessions))
    return SessionSet(round=newer.round, sessions=tuple(both)[:MAX_SESSIONS])


def kind_of(payload: Payload) -> str:
    """What it is one of: of a sender and a kind one payload waits, ``joined`` of all that came.

    A whole table is of a kind of its own, since later updates change it and are nothing without it.
    """
    whole = isinstance(payload, TableUpdate) and payload.mode is Mode.WHOLE
    return "WholeTable" if whole else type(payload).__name__
