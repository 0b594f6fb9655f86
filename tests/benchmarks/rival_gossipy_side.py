"""gossipy's side: runs in its own environment, where nothing of this project is installed.

    python rival_gossipy_side.py WORK.npz '{"factors": 8, "rate": 0.01, "reg": 0.1, "corrected": 1}'

Everything is gossipy's own: nodes, simulator, model, one pass over the ratings at each message.
``corrected`` undoes a slip in its merge, which divides the mean of two models by two once more.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray
from rival_work import Side, Work, serve

# gossipy imports torchvision for a data set of pictures; its wheel wants another build of torch.
sys.modules["torchvision"] = ModuleType("torchvision")

from gossipy import set_seed  # noqa: E402
from gossipy.core import (  # noqa: E402
    AntiEntropyProtocol,
    ConstantDelay,
    CreateModelMode,
    StaticP2PNetwork,
)
from gossipy.model.handler import MFModelHandler  # noqa: E402
from gossipy.node import GossipNode  # noqa: E402
from gossipy.simul import GossipSimulator, SimulationReport  # noqa: E402

_STEPS = 100  # of gossipy's time in a round, as in its own example
_FLOAT_BYTES = 4  # it counts values and holds them as eight bytes; four carry the same


class _Corrected(MFModelHandler):  # type: ignore[misc]
    def _merge(self, other_model_handler: MFModelHandler) -> None:
        super()._merge(other_model_handler)
        own, (factors, bias) = self.model
        self.model = own, (2.0 * factors, 2.0 * bias)


class _Split:
    """Users' ratings as gossipy's nodes ask for them, already split."""

    def __init__(self, work: Work) -> None:
        rng = np.random.default_rng(work.seed)
        self._known = [rng.permutation(part) for part in work.of_each(work.known)]
        self._asked = work.of_each(work.asked)

    def __getitem__(self, user: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self._known[user], self._asked[user]

    def has_test(self) -> bool:
        """None beside the users' own."""
        return False


def _begin() -> Side:
    work, options = Work.load(Path(sys.argv[1])), json.loads(sys.argv[2])
    set_seed(work.seed)
    n, split = len(work.graph), _Split(work)
    near = np.zeros((n, n))
    near[np.arange(n)[:, None], work.graph] = 1.0
    handler = _Corrected if options["corrected"] else MFModelHandler
    nodes = GossipNode.generate(
        data_dispatcher=split,
        p2p_net=StaticP2PNetwork(n, near),
        model_proto=handler(
            dim=options["factors"],
            n_items=work.n_films,
            lam_reg=options["reg"],
            learning_rate=options["rate"],
            create_model_mode=CreateModelMode.MERGE_UPDATE,
        ),
        round_len=_STEPS,
        sync=True,
    )
    simulator = GossipSimulator(
        nodes=nodes,
        data_dispatcher=split,
        delta=_STEPS,
        protocol=AntiEntropyProtocol.PUSH,
        delay=ConstantDelay(0),  # nothing is on its way between two rounds
        sampling_eval=1 / n,  # one node: what is measured is asked for outside the clock
    )
    report = SimulationReport()
    simulator.add_receiver(report)
    simulator.init_nodes(seed=work.seed)
    size = _FLOAT_BYTES * work.n_films * (options["factors"] + 1)

    def sent() -> tuple[int, int]:
        return report._sent_messages, report._sent_messages * size

    def said() -> NDArray[np.float64]:
        ratings = []
        for user, node in nodes.items():
            (taste, own), (factors, bias) = node.model_handler.model
            films = split[user][1][:, 0].astype(int)
            ratings.append((factors[films] @ taste[0]) + own + bias[films])
        return np.concatenate(ratings)

    return Side(live=lambda rounds: simulator.start(n_rounds=rounds), sent=sent, said=said)


if __name__ == "__main__":
    serve(_begin)
