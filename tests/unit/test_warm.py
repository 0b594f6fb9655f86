"""What the warm parent of a swarm has done leaves no secret for its children to share."""

from __future__ import annotations

import subprocess
import sys

_SCRIPT = """
import os
from peers.keys import Keyring

def show(ring):
    print(ring.identity_key.hex(), ring.face.public.hex(), ring.face.prekey_id.hex(), flush=True)

Keyring.create(bytes(32))
for _ in range(2):
    child = os.fork()
    if not child:
        show(Keyring.create(bytes(32)))
        os._exit(0)
    os.waitpid(child, 0)
show(Keyring.create(bytes(32)))
"""


def test_forked_peers_draw_different_keys() -> None:
    run = subprocess.run(
        [sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True
    )
    keys = [line.split() for line in run.stdout.splitlines()]
    assert len(keys) == 3
    for kind in zip(*keys, strict=True):
        assert len(set(kind)) == 3
