"""Learn the weights that all rankers start from, on synthetic cities.

    python -m scenarios.pretrain

Writes ``p2prec/models/ranker_start.py``. Nothing but generated people is learned from: a peer
starts from reasonable habits, and from nobody's data. People of each city have other habits, drawn
at random (domain randomisation, Tobin et al., IROS 2017), since nobody knows those of the next
real one. All examples of a city are in one place here, and statistics are exact; a peer's own word
is in them, as gossip brings it back.
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
from p2prec.data.people import Habits
from p2prec.models.model import Step
from p2prec.models.ranker import Ranker
from p2prec.models.ranker_network import Layers, Start
from p2prec.models.recommender import Task
from p2prec.models.stack import Stack
from p2prec.models.start import Scaling, encoded
from p2prec.training.config import TrainingConfig
from p2prec.training.knowledge import Knowledge, grouped

_SIZES = (8, 16, 32)
_CITIES = 16
_USERS = 75  # of each city
_PLACES_PER_USER = (3, 8)
# Of the habits of a city, the least and the largest value; what draws people back is nothing in
# half of the cities, else drawn by its logarithm, as are hours.
_RANGES = {
    "exploration": (0.35, 0.8),
    "fading": (0.15, 0.4),
    "return_exponent": (0.6, 1.4),
    "reach": (1.0, 2.0),
    "crowding": (0.0, 1.0),
    "way_back": (0.2, 1.2),
    "bursts": (0.0, 0.5),
    "taste": (0.3, 1.2),
    "log_check_ins": (4.2, 5.2),
}
_DRAWN_BY = {
    "hours": (4.0, 64.0),
    "lately": (2.0, 64.0),
    "routine": (2.0, 64.0),
    "ways": (2.0, 64.0),
}
_NOTHING = 0.3  # share of cities in which one of these is nothing
_TOGETHER = 8  # users of one step
_EXAMPLES = 12  # of each of them
_NEGATIVES = 64
_RATE = 3e-3  # of Adam (Kingma & Ba, ICLR 2015), falling to zero
_MOMENTUM, _MEMORY, _LEAST = 0.9, 0.999, 1e-8
_EVERY_PEER = 4  # whose features are measured
_BLOCKS = ("places", "candidates", "situation", "visits")

City = tuple[Catalogue, list[History]]

_HEADER = '''"""Learned on synthetic cities by ``python -m scenarios.pretrain``; not to be edited.

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
    parser.add_argument("--steps", type=int, default=1_000, help="of each size")
    parser.add_argument("--seed", type=int, default=0)
    target = Path(p2prec.models.__file__).with_name("ranker_start.py")
    parser.add_argument("--out", type=Path, default=target)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    cities = [_city(rng) for _ in range(_CITIES)]
    scalings = measured(cities, rng)
    starts = {}
    for size in _SIZES:
        start = Start(weights=drawn(size, rng), **scalings)
        crowds = [
            informed(Ranker(catalogue, size, Task.RANKING, start=start), histories)
            for catalogue, histories in cities
        ]
        starts[size] = trained(crowds, start.weights, steps=args.steps, rng=rng)
    args.out.write_text(written(scalings, starts))
    print(f"wrote {args.out}", file=sys.stderr)


def _city(rng: np.random.Generator) -> City:
    """Places and histories of a city whose people have habits of their own."""
    habits = {name: rng.uniform(*bounds) for name, bounds in _RANGES.items()}
    for name, bounds in _DRAWN_BY.items():
        strength = np.exp(rng.uniform(*np.log(bounds)))
        habits[name] = 0.0 if rng.random() < _NOTHING else strength
    n_places = int(_USERS * rng.uniform(*_PLACES_PER_USER))
    city = generate_city(rng=rng, n_users=_USERS, n_places=n_places, habits=Habits(**habits))
    return city.catalogue, [city.interactions.history(user) for user in range(_USERS)]


def drawn(size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Weights before any training (He et al., ICCV 2015, section 2.2); biases are zero."""
    parts = []
    shapes = Layers.shapes(size)
    together = sum(shapes[name][0] for name in ("places", "candidates", "situation"))
    for name, shape in shapes.items():
        fan_in = shape[0] if name in ("second", "output", "heads") else together
        scale = 0.0 if name.endswith("bias") else np.sqrt(2.0 / fan_in)
        parts.append((scale * rng.standard_normal(shape)).ravel())
    return np.concatenate(parts).astype(np.float32)


def measured(cities: Sequence[City], rng: np.random.Generator) -> dict[str, Scaling]:
    """Usual values of all features, over situations of the cities."""
    rows: dict[str, list[NDArray[np.float32]]] = {name: [] for name in _BLOCKS}
    as_is = Scaling(mean=np.zeros(1, np.float32), scale=np.ones(1, np.float32))
    size, blind = _SIZES[0], dict.fromkeys(_BLOCKS, as_is)
    start = Start(weights=drawn(size, rng), **blind)
    for catalogue, histories in cities:
        model = Ranker(catalogue, size, Task.RANKING, start=start)
        for peer in informed(model, histories)[::_EVERY_PEER]:
            for name, found in _features(model, peer, rng).items():
                rows[name] += found
    return {name: Scaling.of(np.concatenate(found, axis=1)) for name, found in rows.items()}


def _features(
    model: Ranker, peer: Knowledge, rng: np.random.Generator
) -> dict[str, list[NDArray[np.float32]]]:
    """Of a few situations of one user."""
    reader, timeline = model.reader, peer.timeline
    rows: dict[str, list[NDArray[np.float32]]] = {name: [] for name in _BLOCKS}
    heard = model.heard(peer.dense, peer.parameters().table, own=timeline.own, tried=timeline.tried)
    for at in rng.integers(len(timeline) // 3, len(timeline), 4).tolist():
        moment = timeline.before(at)
        anywhere = rng.integers(0, len(model.catalogue), (1, 2 * len(moment.own)))
        around = reader.neighbourhoods.around(moment.sequence[-1:])
        new, known = np.concatenate([anywhere, around], axis=1), moment.own
        rows["candidates"].append(
            reader.candidates(
                heard, [moment], new, known=known, of_known=np.zeros(len(known), np.int64)
            )
        )
        rows["places"].append(reader.places([moment]))
        rows["situation"].append(reader.situations([moment]))
        rows["visits"].append(moment.visits.astype(np.float32))
    return rows


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
        peer.table.others[slots] = visitors[said]
        peer.dense[model.statistics] = tried
    return peers


def trained(
    crowds: Sequence[Sequence[Knowledge]],
    weights: NDArray[np.floating],
    *,
    steps: int,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """The network's weights after so many steps of Adam, each on examples of one crowd in turn.

    Args:
        crowds: Peers of one city each, as of ``informed``; all have rankers of one size.
        weights: To start from, shape ``(n_weights,)``.
        steps: How many.
        rng: Source of all randomness.
    """
    n, learned = len(weights), weights.astype(np.float64)
    momentum, memory, shown = np.zeros(n), np.zeros(n), 0.0
    for number in range(steps):
        peers = crowds[number % len(crowds)]
        chosen = [peers[i] for i in rng.choice(len(peers), _TOGETHER, replace=False)]
        loss, gradient = 0.0, np.zeros(n)
        for group in grouped(chosen):
            members = [chosen[i] for i in group.members]
            found = _gradients(group.stack, members, learned, rng)
            loss, gradient = loss + found[0], gradient + found[1]
        size = _TOGETHER * _EXAMPLES
        gradient /= size
        momentum = _MOMENTUM * momentum + (1 - _MOMENTUM) * gradient
        memory = _MEMORY * memory + (1 - _MEMORY) * gradient**2
        step = momentum / (1 - _MOMENTUM ** (number + 1))
        step /= np.sqrt(memory / (1 - _MEMORY ** (number + 1))) + _LEAST
        learned -= _RATE * min(1.0, 2.0 * (1.0 - number / steps)) * step
        shown = 0.99 * shown + 0.01 * loss / size
        if (number + 1) % 250 == 0:
            mean = shown / (1 - 0.99 ** (number + 1))
            print(f"{n} weights: {number + 1} steps, loss {mean:.3f}", file=sys.stderr)
    return learned.astype(np.float32)


def _gradients(
    stack: Stack,
    peers: Sequence[Knowledge],
    weights: NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[float, NDArray[np.float64]]:
    """Loss and gradient of one step, summed over examples."""
    model, n = peers[0].model, len(weights)
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
