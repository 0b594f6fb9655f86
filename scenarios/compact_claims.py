"""What papers claim of compact tables, what was measured here, and why the two differ."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from peers.worth import MEASURED
from scenarios.compact_rows import Found, Verdict, of_full, short, verdicts
from scenarios.pages import rows_of

_WANTED: Final = (4, 10, 50)
_UPDATES: Final = "od_update.json"

_CLAIMS: Final = {
    "int8": "int8 loses little of a trained table (Jacob et al. 2018, of networks)",
    "int4": "as int8, at half of it",
    "magprune": "beats several learned methods at equal size (benchmark arXiv 2406.17335)",
    "pep": "97 to 99 % fewer parameters without loss, click-through on MovieLens 1M and "
    "Criteo; in re-tests of ranking below a narrow table at 80 and 90 %",
    "sseds": "90 % fewer parameters at strong click-through, Criteo and Avazu",
    "amtl": "60 % of the memory saved without loss",
    "autoemb": "better than one width on public streams; no figure of size",
    "optembed": "better click-through at a smaller size; in re-tests of ranking below PEP",
    "ciess": "at 80 % less NDCG@20 0.426 against 0.397 of narrow (MovieLens 1M, LightGCN)",
    "qrt": "lower loss than plain hashing at the same size (Criteo)",
    "tt": "hundred times smaller tables of click-through models at small loss (TT-Rec)",
    "stp": "30 times smaller, nearly no loss (Tmall, RetailRocket; with distillation)",
    "codes": "as stp, 8 times as fast to read",
    "cerp": "best of several budgets, Gowalla and Yelp 2020",
    "legcf": "best trade-off of size and accuracy on Gowalla, Yelp 2020, Amazon-book",
    "rule": "best under tight budgets on two sets",
    "pee": "best under changing budgets on two sets",
    "dcf": "8 bits better than 128 bits of other binary codes; nothing about real vectors",
    "hashgnn": "comparable with its continuous form",
}

# From how each works here; what nobody has tested says so.
_WHY: Final = {
    "magprune": "which entries a row has costs a bit for each of its columns, and at 1/50 that "
    "alone is more than there is for each film that was heard of: most have no row.",
    "pep": "the bits of masks, as of magprune; and what is left starts anew after three to six "
    "rounds of pruning. That its thresholds find less from one owner's gradients than from "
    "everybody's is a guess.",
    "sseds": "the paper's groups are fields, and items are one field: here they are groups of "
    "items that are about equally known, and nearly all items that a peer holds come to be in the "
    "best known one, so that one set of columns has to do for nearly the whole table.",
    "amtl": "1/4 is as small as the claim goes. Beyond it a width follows from how much is known "
    "of an item; that most films are known too little to get more than a column or two is a "
    "guess.",
    "autoemb": "the mix of widths has to become one width before it saves anything, which the "
    "paper never asks of it, and the controller goes by two measurements a round on an owner's "
    "few newest interactions.",
    "optembed": "widths are those of eight groups, found in six generations that an owner's few "
    "newest interactions judge, and rows are not trained again from the start under them. That "
    "these judge too noisily at 1/50 is a guess.",
    "ciess": "the paper trains 300 recommenders on a server to find a width for each item; here "
    "an agent tries three choices a round for eight groups of items on the model that there is, "
    "without training under them.",
    "qrt": "no plain hashing stands here to be beaten. Each value belongs to many items, and a "
    "merge averages what one owner learned of some of them with what another learned of others.",
    "tt": "every item that shares a slice of a core moves it, and the product of averaged cores "
    "is not the average of their products. Where 1/4 loses as much as 1/50, as on New York, it is "
    "not bytes that are missing.",
    "stp": "as tt; and the paper repairs the loss by distilling a full model that a server has "
    "trained, which no peer has.",
    "codes": "the paper's codes come from a table that was trained in full before; here words and "
    "codes are found while rows are still being learned. Words stand for many places at once, and "
    "the few that are an owner's own are not kept as they are, by which New York is mostly "
    "predicted (*own, most frequent*).",
    "cerp": "two shared tables, where a merge mixes items as in qrt, and values start anew after "
    "three rounds of pruning. At 1/4 it is no larger than at 1/10 on New York, since an update "
    "carries no more shared values.",
    "legcf": "the paper learns which meta embeddings an item is made of from the graph of all "
    "users; here it is a public order of kindred items, an item has one weight of its own at 1/50 "
    "and none at 1/100, and own places are not kept as they are.",
    "rule": "a block is kept for a group of items that about as many people know; an owner's own "
    "places need not be those that many know, and at small budgets they go with their group.",
    "pee": "as rule; and the paper learns weights of blocks for groups of users on data held out, "
    "here neighbours' mean takes their place.",
    "dcf": "the closed form adds up over all users who rated an item. Here its sums are learned "
    "from one owner's gradients and averaged, and a film gets few of them; that this is where the "
    "bits go wrong is a guess.",
    "hashgnn": "a plain row takes the place of the paper's graph encoder, which a peer has no "
    "graph for: a film's bits come from the few who met it, where a graph would lend it its "
    "neighbours'. That this makes the difference between films and places is a guess.",
}


def claimed(sets: Mapping[str, Found], folder: Path) -> list[str]:
    """The section of a page.

    Args:
        sets: By data set.
        folder: With results of other commands.
    """
    heads = [f"{short(name)}, 1/{c}" for name in sets for c in _WANTED]
    lines = ["## What the papers claim, and what is here", "", _CLAIMED, ""]
    lines += rows_of(("table", "claim", *heads, "above narrow", "below", "open"))
    ruled = [verdicts(found) for found in sets.values()]
    for table, claim in _CLAIMS.items():
        cells = [_part(found, table, c) for found in sets.values() for c in _WANTED]
        all_ = [verdict for of in ruled for (t, _), (verdict, _) in of.items() if t == table]
        counts = [str(all_.count(verdict)) for verdict in Verdict]
        lines += rows_of((table, claim, *cells, *counts), head=False)
    lines += ["", _WHY_NOT, "", *(f"- *{table}*: {why}" for table, why in _WHY.items()), ""]
    return lines + _elsewhere(folder)


def _part(found: Found, table: str, compression: int) -> str:
    row = found.get((table, compression))
    parts = of_full(found, row) if row is not None else np.empty(0)
    return f"{parts.mean():.2f}" if len(parts) else "-"


def _elsewhere(folder: Path) -> list[str]:
    """Members that are no item tables."""
    models = json.loads(MEASURED.read_text(encoding="utf-8"))
    lines = ["Three members are no item tables, and are measured elsewhere:", ""]
    lines += rows_of(("member", "claim", "where", "what is there"))
    made, known = models["made_by"], models["models"]
    where = (
        f"`p2prec models`: synthetic city, {made['users']} people, {made['rounds']} rounds, one "
        "seed, peers who average (*epidemic*); with a teacher, by *mac*: [results](README.md)"
    )
    lines += rows_of(
        (
            "llrec, a recommender over *tt*",
            "effective on two large sets; no figures seen",
            where,
            f"NDCG@10 {_ndcgs(known, 'llrec/16', 'llrec/16/tt-10', 'llrec/16/narrow-10', 'mf/16')}",
        ),
        head=False,
    )
    lines += rows_of(
        (
            "metapatch, the patch of DCCL; its MoMoDistill is the method *mac*",
            "3.5 to 41 % better than models in the cloud or small ones (others' notes)",
            where,
            f"NDCG@10 {_ndcgs(known, 'metapatch/16', 'metapatch/16/tt-10', 'mf/16')}",
        ),
        head=False,
    )
    updates = folder / _UPDATES
    if updates.exists():
        methods = json.loads(updates.read_text(encoding="utf-8"))["methods"]
        whole, sent = (methods[name]["bytes_per_peer"] for name in ("dclr", "od_update"))
        lines += rows_of(
            (
                "od_update, updates of a table of *codes*",
                "60 times smaller at the quality of a model trained anew (Gowalla, LastFM)",
                "[od_update](od_update.md)",
                f"{whole / sent:.1f} times fewer bytes than rows and all pieces, alike in quality",
            ),
            head=False,
        )
    return [*lines, "", _ELSEWHERE, ""]


def _ndcgs(models: Mapping[str, Mapping[str, Any]], *names: str) -> str:
    return ", ".join(f"{name} {models[name]['ndcg@10']:.3f}" for name in names)


_CLAIMED = """Claims are those of abstracts or of others' re-tests, on other data, models and
tasks, trained by a server on everybody's data; here a peer trains on one person's and hears of the
rest by gossip. Cells are NDCG@10 in parts of that of the full table; *above*, *below* and *open*
count the cells of the verdicts above, at all compressions."""

_WHY_NOT = """Where a table is worse here than its paper says, that is the first reason: a search
sees one owner's interactions, and where items share pieces (qrt, tt, stp, cerp, legcf) a merge
mixes what owners have learned of different items. Places are met again, so that the own ones must
be kept as they are; films are new each time, so that something must be kept of each film that was
heard of. What is particular to each follows from how it works here (`p2prec/embeddings`), but was
not tested one by one; int8 and int4 are what is claimed."""

_ELSEWHERE = """LLRec's claim cannot be held against these figures, which have no teacher: its
item table of tensor trains loses as *tt* does. What a patch adds to matrix factorisation is of one
seed, too small to be told from chance. An update of codes keeps its promise in part: the rows that
a peer names and what is counted of them are sent either way ([od_update](od_update.md))."""
