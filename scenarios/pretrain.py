"""Learn the weights that all rankers start from, on the synthetic city.

    python -m scenarios.pretrain

Writes ``p2prec/models/ranker_start.py``. Nothing but generated people is learned from: a peer
starts from reasonable habits, and from nobody's data. All examples are in one place here, and
statistics are exact; a peer's own word is in them, as gossip brings it back.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import p2prec.models
from p2prec.data.catalogue import Catalogue
from p2prec.data.city import generate_city
from p2prec.data.interactions import History
from p2prec.models.model import Step
from p2prec.models.ranker import Ranker
from p2prec.models.ranker_network import Layers, Start
from p2prec.models.recommender import Task
from p2prec.models.stack import Stack
from p2prec.models.start import Scaling, encoded
from p2prec.models.table import OTHERS
from p2prec.training.config import TrainingConfig
from p2prec.training.knowledge import Knowledge, grouped

_SIZES = (8, 16, 32)
_USERS = 600
_PLACES = 2_400
_TOGETHER = 8  # users of one step
_EXAMPLES = 12  # of each of them
_NEGATIVES = 64
_RATE = 3e-3  # of Adam (Kingma & Ba, ICLR 2015), falling to zero
_MOMENTUM, _MEMORY, _LEAST = 0.9, 0.999, 1e-8
_HEADER = '''"""Learned on the synthetic city by ``python -m scenarios.pretrain``; not to be edited.

Numbers of half precision in base64: usual value and spread of each feature, and the weights of the
network by the width of its hidden layers.
"""

from __future__ import annotations

'''


def main() -> None:
    """Train every size and write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=2_500, help="of each size")
    parser.add_argument("--seed", type=int, default=0)
    target = Path(p2prec.models.__file__).with_name("ranker_start.py")
    parser.add_argument("--out", type=Path, default=target)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    city = generate_city(rng=rng, n_users=_USERS, n_places=_PLACES)
    histories = [city.interactions.history(user) for user in range(_USERS)]
    starts = {}
    scalings: dict[str, Scaling] = {}
    for size in _SIZES:
        scalings = scalings or measured(city.catalogue, histories, rng)
        start = Start(weights=drawn(size, rng), **scalings)
        model = Ranker(city.catalogue, size, Task.RANKING, start=start)
        starts[size] = trained(model, histories, steps=args.steps, rng=rng)
    args.out.write_text(written(scalings, starts))
    print(f"wrote {args.out}", file=sys.stderr)


def drawn(size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Weights before any training (He et al., ICCV 2015, section 2.2); biases are zero."""
    parts = []
    for name, shape in Layers.shapes(size).items():
        fan_in = (
            shape[0]
            if name in ("second", "output")
            else sum(s[0] for s in list(Layers.shapes(size).values())[:3])
        )
        scale = 0.0 if name.endswith("bias") else np.sqrt(2.0 / fan_in)
        parts.append((scale * rng.standard_normal(shape)).ravel())
    return np.concatenate(parts).astype(np.float32)


def measured(
    catalogue: Catalogue, histories: Sequence[History], rng: np.random.Generator
) -> dict[str, Scaling]:
    """Usual values of all features, over situations of the city."""
    rows: dict[str, list[NDArray[np.float32]]] = {"places": [], "candidates": [], "situation": []}
    model = Ranker(catalogue, _SIZES[0], Task.RANKING)
    reader = model.reader
    peers = informed(model, histories)
    for peer in peers[::4]:
        timeline = peer.timeline
        heard = model.heard(
            peer.dense, peer.parameters().table, own=timeline.own, tried=timeline.tried
        )
        for at in rng.integers(len(timeline) // 3, len(timeline), 4).tolist():
            moment = timeline.before(at)
            anywhere = rng.integers(0, len(catalogue), (1, 2 * len(moment.own)))
            around = reader.neighbourhoods.around(moment.sequence[-1:])
            new, known = np.concatenate([anywhere, around], axis=1), moment.own
            rows["candidates"].append(
                reader.candidates(
                    heard, [moment], new, known=known, of_known=np.zeros(len(known), np.int64)
                )
            )
            rows["places"].append(reader.places([moment]))
            rows["situation"].append(reader.situations([moment]))
    return {name: Scaling.of(np.concatenate(found, axis=1)) for name, found in rows.items()}


def informed(model: Ranker, histories: Sequence[History]) -> list[Knowledge]:
    """A peer for each user, which has heard everything."""
    config = TrainingConfig(negatives=_NEGATIVES)
    peers = [Knowledge(model.catalogue, model, config, history) for history in histories]
    visitors = np.zeros(len(model.catalogue), np.float32)
    for peer in peers:
        visitors[peer.timeline.own] += 1.0 / len(peers)
    tried = np.mean([model.own_statistics(peer.timeline) for peer in peers], axis=0)
    said = np.flatnonzero(visitors)
    for peer in peers:
        slots = peer.table.touch(said)
        peer.table.values[slots, OTHERS] = visitors[said]
        peer.dense[model.statistics] = tried
    return peers


def trained(
    model: Ranker, histories: Sequence[History], *, steps: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """The network's weights after so many steps of Adam on everybody's examples."""
    peers = informed(model, histories)
    n = len(model.start.weights)
    weights = model.start.weights.astype(np.float64)
    momentum, memory, shown = np.zeros(n), np.zeros(n), 0.0
    for number in range(steps):
        chosen = [peers[i] for i in rng.choice(len(peers), _TOGETHER, replace=False)]
        loss, gradient = 0.0, np.zeros(n)
        for group in grouped(chosen):
            members = [chosen[i] for i in group.members]
            found = _gradients(model, group.stack, members, weights, rng)
            loss, gradient = loss + found[0], gradient + found[1]
        size = _TOGETHER * _EXAMPLES
        gradient /= size
        momentum = _MOMENTUM * momentum + (1 - _MOMENTUM) * gradient
        memory = _MEMORY * memory + (1 - _MEMORY) * gradient**2
        step = momentum / (1 - _MOMENTUM ** (number + 1))
        step /= np.sqrt(memory / (1 - _MEMORY ** (number + 1))) + _LEAST
        weights -= _RATE * min(1.0, 2.0 * (1.0 - number / steps)) * step
        shown = 0.99 * shown + 0.01 * loss / size
        if (number + 1) % 250 == 0:
            mean = shown / (1 - 0.99 ** (number + 1))
            print(f"{model.name}: {number + 1} steps, loss {mean:.3f}", file=sys.stderr)
    return weights.astype(np.float32)


def _gradients(
    model: Ranker,
    stack: Stack,
    peers: Sequence[Knowledge],
    weights: NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[float, NDArray[np.float64]]:
    """Loss and gradient of one step, summed over examples."""
    n = len(weights)
    stack.dense[:, :n] = weights
    timelines = [peer.timeline for peer in peers]
    at = np.concatenate([rng.integers(model.first, len(t), _EXAMPLES) for t in timelines])
    owner = np.repeat(np.arange(len(peers)), _EXAMPLES)
    both = list(zip(owner.tolist(), at.tolist(), strict=True))
    keys = rng.integers(0, 1 << 62, len(peers)).astype(np.uint64)
    step = Step(
        timelines=timelines,
        owner=owner,
        at=at,
        item=np.array([timelines[o].item[i] for o, i in both], np.int32),
        rating=np.ones(len(at), np.float32),
        sampled=model.sample(timelines, owner, at, negatives=_NEGATIVES, keys=keys),
        lessons=[None] * len(peers),
    )
    found = model.gradients(stack, step)
    return float(found.loss.sum()), found.dense[:, :n].sum(0, dtype=np.float64)


def written(scalings: dict[str, Scaling], starts: dict[int, NDArray[np.float32]]) -> str:
    """The module's text."""

    def quoted(values: NDArray[np.float32], indent: str) -> str:
        return "\n".join(f'{indent}"{line}"' for line in encoded(values))

    lines = [_HEADER + "SCALINGS = {"]
    for name, scaling in scalings.items():
        both = (
            f"        (\n{quoted(v, ' ' * 12)}\n        )," for v in (scaling.mean, scaling.scale)
        )
        lines += [f'    "{name}": (', *both, "    ),"]
    lines += ["}", "WEIGHTS = {"]
    for size, weights in starts.items():
        lines += [f"    {size}: (", quoted(weights, " " * 8), "    ),"]
    return "\n".join([*lines, "}", ""])


if __name__ == "__main__":
    main()
