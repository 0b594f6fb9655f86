"""The errors of p2prec.

P2PRecError
├── ConfigError                 the owner's or the researcher's settings do not fit
├── DataError                   a file of interactions or items cannot be read
├── StoreError                  the device cannot keep what it was told to keep
├── StoppedByUserError          the user stopped a command; says what was ended with it
├── TransportError              a message could not leave or a listener could not start
└── ProtocolError               the rules between peers were broken
    ├── LocalProtocolError      by us: a bug here, never the fault of a stranger
    └── RemoteProtocolError     by them: dropped and counted, never raised past one message
"""

from __future__ import annotations


class P2PRecError(Exception):
    """Base of every error that p2prec raises on purpose."""


class ConfigError(P2PRecError):
    """A setting is unknown, out of range, or does not go with another one."""


class DataError(P2PRecError):
    """A file of interactions or items cannot be read; names the file, the line and the reason."""


class BadLineError(DataError):
    """Some lines of a file are bad; the others could be kept."""


class StoreError(P2PRecError):
    """The store cannot be opened or written; nothing that was stored before is lost."""


class OtherModelError(StoreError):
    """What was stored is of a model of another size; the history from which it was learned is not.

    So it is after an update, or with other settings.
    """


class StoppedByUserError(P2PRecError):
    """The user stopped a command; the message says what was ended with it."""


class TransportError(P2PRecError):
    """A message could not be sent, or a listener could not start."""


class ProtocolError(P2PRecError):
    """The rules between peers were broken."""


class LocalProtocolError(ProtocolError):
    """We were about to break the rules; a bug on this side."""


class RemoteProtocolError(ProtocolError):
    """Another peer broke the rules.

    Args:
        reason: One of the short counter names of ``docs/protocol.md``, such as ``"bad_signature"``.
        detail: A sentence for the log; never shown to the sender.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail
