"""What peers that exchange soft decisions hold and compute, beside what they learn."""

from __future__ import annotations

import numpy as np

from p2prec.collaboration.payload import ReferenceSequence
from p2prec.collaboration.references import moment_after
from tests.unit.collaboration.contract import CITY


def test_all_peers_of_a_process_share_the_situation_after_a_sequence() -> None:
    one, equal, later = (
        ReferenceSequence(
            items=np.array([3, 5, 8], np.uint32),
            timestamp_s=np.array([0, 3_600, hour * 3_600], np.int64),
        )
        for hour in (5, 5, 6)
    )
    situation = moment_after(CITY.catalogue, one)
    assert situation.own.tolist() == [3, 5, 8]
    assert moment_after(CITY.catalogue, equal) is situation
    assert moment_after(CITY.catalogue, later) is not situation
