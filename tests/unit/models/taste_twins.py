"""Recommenders over item tables by autograd, written example by example over whole tables.

Nothing here is taken from ``p2prec.models`` but where a parameter lies in the dense vector.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import torch
from torch import Tensor
from torch.nn import functional

from p2prec.data.catalogue import Catalogue
from p2prec.data.interactions import History
from p2prec.models.explored import Explored
from p2prec.models.recommender import Task

EDGES_KM = (0.25, 0.5, 1, 2, 4, 8, 16, 32)


@dataclass(frozen=True, kw_only=True)
class Situation:
    """Where one list of scores comes from.

    Attributes:
        vectors: Shape ``(n_items, size)``.
        shares: Of others that know each item.
        user: The user's vector.
        own: What the family shares, by name.
        past: Items before, newest last, at most 32.
        now_s: When it is asked for.
        catalogue: Of the realm.
    """

    vectors: Tensor
    shares: Tensor
    user: Tensor
    own: dict[str, Tensor]
    past: list[int]
    now_s: float
    catalogue: Catalogue


def mf(s: Situation) -> Tensor:
    return s.vectors @ s.user


def metapatch(s: Situation) -> Tensor:
    size = s.vectors.shape[1]
    user, theta = s.user[:size], s.user[size:]
    total = s.vectors @ user
    if len(theta):
        outward = sum(t * basis for t, basis in zip(theta, s.own["basis"], strict=True))
        total = total + ((s.vectors @ s.own["inward"].T).relu() @ outward.T) @ user
    return total


def neumf(s: Situation) -> Tensor:
    half = len(s.user) // 2
    gmf = (s.vectors[:, :half] * s.user[:half]) @ s.own["h"]
    pairs = torch.cat([s.user[half:].expand(len(s.vectors), half), s.vectors[:, half:]], dim=1)
    first = functional.linear(pairs, torch.cat([s.own["A_user"], s.own["A_item"]], 1), s.own["a"])
    second = functional.linear(first.relu(), s.own["B"], s.own["b"])
    return gmf + second.relu() @ s.own["o"]


def lightgcn(s: Situation) -> Tensor:
    """Message passing on an explicit bipartite graph of one user."""
    n = len(s.past)
    if not n:
        return s.own["scale"] * (s.vectors @ s.user) / 4
    weight = 1 / torch.sqrt(n * (1 + s.shares[s.past] / 0.03))
    user, items = s.user, s.vectors[s.past]
    layers = [user]
    for _ in range(3):
        user, items = (weight[:, None] * items).sum(0), weight[:, None] * user
        layers.append(user)
    return s.own["scale"] * (s.vectors @ torch.stack(layers).mean(0))


def llrec(s: Situation) -> Tensor:
    state = torch.zeros(s.vectors.shape[1])
    zeta, nu, scale = torch.sigmoid(s.own["scalars"][0]), torch.sigmoid(s.own["scalars"][1]), 0.0
    for item in s.past:
        a = s.own["W"] @ s.vectors[item] + s.own["U"] @ state
        z, candidate = torch.sigmoid(a + s.own["b_z"]), torch.tanh(a + s.own["b_h"])
        state = (zeta * (1 - z) + nu) * candidate + z * state
    scale = s.own["scalars"][2]
    return scale * (s.vectors @ state)


def _classes(s: Situation, item: int) -> list[int]:
    """Hour, weekday, last category, distance and category, each behind the one before."""
    catalogue, n = s.catalogue, len(s.catalogue.categories)
    near = 9 + 8 + n + 1
    if not s.past:
        hour, day, last, away = 8, 7, n, 9
    else:
        newest = s.past[-1]
        longitude = float(catalogue.longitude_deg[newest])
        solar_s = s.now_s + (0.0 if math.isnan(longitude) else longitude * 240)
        when = datetime.fromtimestamp(solar_s, UTC)
        hour, day = when.hour // 3, when.weekday()
        last = int(catalogue.category[newest]) if catalogue.category[newest] >= 0 else n
        away = sum(_km(catalogue, newest, item) > edge for edge in EDGES_KM)
    kind = int(catalogue.category[item]) if catalogue.category[item] >= 0 else n
    return [hour, 9 + day, 17 + last, near + away, near + 10 + kind]


def _km(catalogue: Catalogue, a: int, b: int) -> float:
    lat_a, lat_b = (math.radians(catalogue.latitude_deg[i]) for i in (a, b))
    turn = math.radians(catalogue.longitude_deg[a] - catalogue.longitude_deg[b])
    if math.isnan(lat_a) or math.isnan(lat_b):
        return 20.0
    chord = math.sin((lat_a - lat_b) / 2) ** 2
    chord += math.cos(lat_a) * math.cos(lat_b) * math.sin(turn / 2) ** 2
    return 2 * 6371.0088 * math.asin(math.sqrt(chord))


def _fields(s: Situation) -> tuple[list[Tensor], Tensor]:
    """Fields of all items, and their linear part."""
    classes = torch.tensor([_classes(s, item) for item in range(len(s.vectors))])
    context = s.own["classes"][classes]
    fields = [s.user.expand_as(s.vectors), s.vectors, *context.unbind(1)]
    return fields, s.own["weights"][classes].sum(1)


def _pairs(fields: list[Tensor]) -> Tensor:
    return sum(a * b for i, a in enumerate(fields) for b in fields[:i])  # type: ignore[return-value]


def fm(s: Situation) -> Tensor:
    fields, linear = _fields(s)
    return _pairs(fields).sum(1) + linear


def nfm(s: Situation) -> Tensor:
    fields, linear = _fields(s)
    hidden = functional.linear(_pairs(fields), s.own["A"], s.own["a"]).relu()
    return hidden @ s.own["o"] + linear


TWINS: dict[str, Callable[[Situation], Tensor]] = {
    "mf": mf,
    "metapatch": metapatch,
    "fm": fm,
    "neumf": neumf,
    "nfm": nfm,
    "lightgcn": lightgcn,
    "llrec": llrec,
}
FOLDED = {"mf", "metapatch", "fm", "neumf", "nfm"}  # whose stranger has a folded-in vector


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One peer's parameters as leaves; what the rest is computed from."""

    family: str
    task: Task
    vectors: Tensor
    bias: Tensor
    shares: Tensor
    base: Tensor  # mu, c, w, listened
    own: dict[str, Tensor]
    private: Tensor
    history: History
    catalogue: Catalogue

    def scores(self, past: list[int], now_s: float, *, stranger: bool) -> Tensor:
        user = self.private[:-1]
        if stranger:
            user = torch.zeros_like(user)
            if past and self.family in FOLDED:
                user = self.base[1] * self.vectors[past].sum(0) / math.sqrt(len(past))
        situation = Situation(
            vectors=self.vectors,
            shares=self.shares,
            user=user,
            own=self.own,
            past=past[-32:],
            now_s=now_s,
            catalogue=self.catalogue,
        )
        total = TWINS[self.family](situation) + self.bias
        if self.task is not Task.RATING:
            total = total + self.base[2] * torch.log1p(self.shares / 0.03)
        return total if stranger else total + self.base[0] + self.private[-1]

    def loss(self, at: list[int], sampled: list[list[int]]) -> Tensor:
        known, total = set(self.history.item.tolist()), torch.zeros(())
        for position, others in zip(at, sampled, strict=True):
            past = self.history.item[:position].tolist()
            score = self.scores(past, float(self.history.timestamp_s[position]), stranger=False)
            chosen = score[int(self.history.item[position])]
            fair = [j for j in others if j not in known]
            if self.task is Task.RATING:
                total = total + 0.5 * (chosen - float(self.history.rating[position])) ** 2
            elif self.task is Task.CLICK:
                total = total - functional.logsigmoid(chosen)
                total = total - functional.logsigmoid(-score[fair]).sum()
            elif fair:
                total = total - functional.logsigmoid(chosen - score[fair]).mean()
        return total

    def taught(self, lesson: Explored, at: list[int]) -> Tensor:
        """Cross entropy of situations before ``at``."""
        total = torch.zeros(())
        for row, position in enumerate(at):
            past = self.history.item[:position].tolist()[-32:]
            score = self.scores(past, float(self.history.timestamp_s[position]), stranger=True)
            may = [k for k in range(lesson.candidates.shape[1]) if lesson.allowed[row, k]]
            logits = score[[int(lesson.candidates[row, k]) for k in may]]
            target = torch.from_numpy(lesson.target[row, may])
            total = total - float(lesson.weight[row]) * (target * logits.log_softmax(0)).sum()
        return total
