"""Entry point of the command ``p2prec``; importing it registers all commands."""

from __future__ import annotations

import os
import sys

from p2prec.errors import ConfigError, P2PRecError, StoppedByUserError, TransportError
from peers.cli import device, experiments  # noqa: F401 - they add their commands, in this order
from peers.cli.app import EXIT_CONFIG, EXIT_FAILURE, EXIT_NO_PEER, EXIT_STOPPED, app


def main() -> None:
    """Entry point: a P2PRecError is one sentence, never a traceback."""
    try:
        app()
    except ConfigError as error:
        _fail(error, EXIT_CONFIG)
    except TransportError as error:
        _fail(error, EXIT_NO_PEER)
    except StoppedByUserError as error:
        _fail(error, EXIT_STOPPED)
    except P2PRecError as error:
        _fail(error, EXIT_FAILURE)
    except BrokenPipeError:  # as by: p2prec recommend | head -1
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        _fail(f"{error.filename or 'the system'}: {error.strerror or error}", EXIT_FAILURE)


def _fail(error: P2PRecError | str, code: int) -> None:
    print(f"p2prec: {error}", *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
