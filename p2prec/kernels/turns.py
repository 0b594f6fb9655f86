"""In which order peers may merge who read each other's tables where they lie."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True)
def reading_turns(
    firsts: NDArray[np.int64], senders: NDArray[np.int64], in_place: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """An order of merging in which each table is read by all who hear it before it changes.

    Args:
        firsts: Shape ``(n_peers + 1,)``, where in ``senders`` those begin whom each hears.
        senders: Whom they hear.
        in_place: Shape ``(n_peers,)``, whose tables may be read where they lie.

    Returns:
        Those who hear somebody, in that order, and of all peers whose tables have to be copied
        before, since hearing goes round in a circle there.
    """
    n_peers = len(in_place)
    listens = firsts[1:] > firsts[:-1]
    unread = np.zeros(n_peers, np.int64)  # who still has to read a table before it changes
    for sender in senders:
        unread[sender] += in_place[sender] & listens[sender]
    order, copied = np.empty(listens.sum(), np.int64), np.zeros(n_peers, np.bool_)
    free, n_free, n_done = np.empty(n_peers, np.int64), 0, 0
    for peer in range(n_peers):
        if listens[peer] and unread[peer] == 0:
            free[n_free] = peer
            n_free += 1
    n_done = _follow(firsts, senders, unread, free, n_free, order, n_done)
    for peer in range(n_peers):
        if unread[peer]:  # all who are left wait for each other in circles
            copied[peer], unread[peer], free[0] = True, 0, peer
            n_done = _follow(firsts, senders, unread, free, 1, order, n_done)
    return order[:n_done], copied


@njit(cache=True)
def _follow(
    firsts: Any, senders: Any, unread: Any, free: Any, n_free: int, order: Any, n_done: int
) -> Any:
    """Let all merge who are free, and whom that frees.

    The last freed comes first: its table was read just now, and is still in the cache.
    """
    while n_free:
        n_free -= 1
        peer = free[n_free]
        order[n_done] = peer
        n_done += 1
        for number in range(firsts[peer], firsts[peer + 1]):
            sender = senders[number]
            if unread[sender]:
                unread[sender] -= 1
                if unread[sender] == 0:
                    free[n_free] = sender
                    n_free += 1
    return n_done
