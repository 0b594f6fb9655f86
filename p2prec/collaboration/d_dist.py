"""D-Dist: distillation of the plain mean of all neighbours' soft decisions.

Bistritz, Mann & Bambos, *Distributed Distillation for On-Device Learning*, NeurIPS 2020: devices
with any models exchange softmax outputs on common unlabelled data, and each is pulled towards the
uniform mean of its neighbours. Here the reference data, the two ways of learning from them and the
wire are those of ``mac``; what makes it D-Dist is what is left out:

    w_ij  =  1 / (number of senders)             no similarity-based weights
    j is kept always                             no performance-triggered sampling
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from p2prec.collaboration.decisions import Hearing
from p2prec.collaboration.mac import AMOUNTS, MAC
from p2prec.collaboration.method import Amounts
from p2prec.collaboration.payload import SoftPredictions


class DDist(MAC):
    """MAC without a choice of teachers."""

    amounts: ClassVar[Amounts] = {
        name: amount for name, amount in AMOUNTS.items() if name != "temperature"
    }

    def performing(self, own: NDArray[np.int32], soft: Mapping[str, SoftPredictions]) -> set[str]:
        """Everybody."""
        del own
        return set(soft)

    def weights(self, hearing: Hearing) -> dict[str, float]:
        """The same for all."""
        return dict.fromkeys(hearing.teachers, 1.0 / len(hearing.teachers))
