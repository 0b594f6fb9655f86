"""What a running peer says: sentences on a terminal, JSON lines where a program listens.

Never a coordinate or a place; what others wrote is made safe to show before it is.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Final, TextIO

import structlog
from structlog.typing import WrappedLogger

from p2prec.text import printable
from peers.cli.say import used_up
from peers.events import Tell

_LONGEST: Final = 300  # characters of one value
# No tell has one; should one ever get one, it still does not reach a log that is kept or shared.
_PRIVATE: Final = frozenset(
    {"lat", "lon", "latitude_deg", "longitude_deg", "area", "cell", "item", "items", "sketch"}
)
_COLOURS: Final = {"warning": "\x1b[33m", "error": "\x1b[31m", "debug": "\x1b[2m"}


def _plural(n: object, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"


def _round_finished(f: Mapping[str, Any]) -> str:
    rejected = f"; {_plural(f['rejected'], 'contribution')} refused" if f["rejected"] else ""
    learned = (
        f"learned from {_plural(f['merged'], 'neighbour')}" if f["merged"] else "learned alone"
    )
    return f"round {f['round']}: {learned}{rejected}"


_SAYS: Final[Mapping[str, tuple[str, Callable[[Mapping[str, Any]], str]]]] = {
    "advertised": ("info", lambda f: f"others see this peer as {f['pseudonym'][:8]}"),
    "neighbours_chosen": (
        "info",
        lambda f: f"learning with {_plural(f['n'], 'neighbour')}" if f["n"] else "no neighbours",
    ),
    "trained": (
        "info",
        lambda f: f"round {f['round'] + 1}: trained on {_plural(f['examples'], 'example')}",
    ),
    "round_finished": ("info", _round_finished),
    "resting": ("info", lambda f: f"all {f['round']} rounds are done; resting"),
    "interactions_added": ("info", lambda f: f"{_plural(f['n'], 'new check-in')} taken in"),
    "goodbye": ("info", lambda f: f"{f['peer']} has left"),
    "broker_connected": ("info", lambda f: f"the broker {f['broker']} is there"),
    "broker_lost": (
        "warning",
        lambda f: f"the broker {f['broker']} cannot be reached ({f['reason']}); trying on",
    ),
    "no_multicast": ("warning", lambda f: str(f["reason"])),
    "store_failed": (
        "error",
        lambda f: f"{f['reason']} Going on from memory; nothing leaves until it can be kept.",
    ),
    "store_recovered": ("info", lambda _: "the store takes everything again"),
    "withheld": (
        "warning",
        lambda f: f"{f['releases']} releases have left. {used_up(f['next_s'])}",
    ),
    "released_again": ("info", lambda _: "what is learned leaves again"),
    "not_sendable": (
        "warning",
        lambda f: f"nothing left in this round, others would refuse it: {f['reason']}",
    ),
    "others_lost": (
        "warning",
        lambda f: f"{f['reason']}; going on without them, the next ones come by themselves",
    ),
    "model_anew": (
        "warning",
        lambda f: (
            f"{f['reason']}, as after an update: what it knew is learned anew from the history"
        ),
    ),
    "diverged": (
        "warning",
        lambda f: (
            f"round {f['round'] + 1}: the training diverged, and what it spoilt begins anew; "
            "a lower learning_rate in [learner.training] keeps it from that"
        ),
    ),
    "payload_received": (
        "debug",
        lambda f: f"{f['peer']} sent what it learned in round {f['round'] + 1}",
    ),
    "dropped": ("debug", lambda f: f"dropped: {str(f['reason']).replace('_', ' ')}"),
}


class OwnerLog:
    """Says what happens.

    Args:
        stream: Usually standard error.
        terminal: Sentences for a person, in place of JSON lines.
        verbose: Also each message that came or was dropped.
        colours: On a terminal.
    """

    def __init__(
        self, stream: TextIO, *, terminal: bool, verbose: bool = False, colours: bool = False
    ) -> None:
        self._log = structlog.wrap_logger(
            structlog.PrintLogger(stream),
            processors=[
                structlog.stdlib.add_log_level,
                structlog.processors.TimeStamper(
                    fmt="%H:%M:%S" if terminal else "iso", utc=not terminal
                ),
                _clean,
                _sentence(colours=colours) if terminal else structlog.processors.JSONRenderer(),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(
                logging.DEBUG if verbose else logging.INFO
            ),
        )

    def told(self, tell: Tell) -> None:
        """Say what a peer tells."""
        level, says = _SAYS.get(tell.what, ("info", lambda _: tell.what.replace("_", " ")))
        self.say(says(tell.fields), level=level, what=tell.what, **tell.fields)

    def say(self, sentence: str, *, level: str = "info", **fields: object) -> None:
        """Say a sentence; a program also gets the fields."""
        self._log.log(logging.getLevelNamesMapping()[level.upper()], sentence, **fields)

    def take_over_logging(self) -> None:
        """What libraries log is said the same way; their everyday complaints are not."""
        logging.basicConfig(level=logging.WARNING, handlers=[_Foreign(self)], force=True)
        for name in ("mqtt", "zeroconf", "amqtt", "transitions"):  # the peer says it itself
            logging.getLogger(name).setLevel(logging.CRITICAL)


class _Foreign(logging.Handler):
    def __init__(self, log: OwnerLog) -> None:
        super().__init__()
        self._say = log.say

    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else "warning"
        self._say(f"{record.name}: {record.getMessage()}", level=level, what="library")


def wants_colours(stream: TextIO) -> bool:
    """Whether escape codes are welcome there; see https://no-color.org."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return stream.isatty() and not plain


def _clean(
    logger: WrappedLogger, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    del logger, method
    return {
        key: printable(value)[:_LONGEST] if isinstance(value, str) else value
        for key, value in event.items()
        if key not in _PRIVATE
    }


def _sentence(*, colours: bool) -> Callable[[WrappedLogger, str, MutableMapping[str, Any]], str]:
    def render(logger: WrappedLogger, method: str, event: MutableMapping[str, Any]) -> str:
        del logger, method
        colour = _COLOURS.get(str(event["level"]), "") if colours else ""
        end = "\x1b[0m" if colour else ""
        return f"{event['timestamp']}  {colour}{event['event']}{end}"

    return render
