"""ODUpdate between peers: DCLR whose updates of a table of codes are new words and changed codes.

    published = whole table every ``whole_every`` rounds, and until one has left; between them,
                k rounds after it, k / l of its words and the codes that are better with them
    heard     = e_x = sum over j of C_j[code_j(x)] from the sender's words, then as of ``dclr``

Xia et al., CIKM 2023 (ODUpdate), section 3, where a server brings devices up to date
(``p2prec.embeddings.code_update``). Ours: each peer does for its followers what their server does.
It fits words and codes to the rows that it would have sent (``dclr.py``, after protection), from
words that it has published before, so that nothing that was hidden comes out again: no word that
it has learned leaves, and words of groups, which move with the owner's rows, do not leave at all.
A row costs a few codes instead of its values. A follower keeps the whole table that came last from
each sender. An update names it by its content, and one that changes another table is refused
(``other_table``); the next whole one mends that, so that a lost message or a new acquaintance costs
at most ``whole_every`` rounds of one sender. A restart costs a follower nothing, since tables of
others are kept, and a sender one whole table. Words of two senders are never joined as codes: what
each says is put together first, and averaged then.

Measured: ``docs/results/od_update.md``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from p2prec.collaboration.dclr import DCLR
from p2prec.collaboration.method import Amount, Amounts, Listener, Options
from p2prec.collaboration.payload import ModelUpdate, Payload, TableUpdate
from p2prec.embeddings.code_update import (
    CodeUpdate,
    HeldTable,
    Mode,
    apply_update,
    make_update,
    whole_table,
)
from p2prec.embeddings.compositional_codes import CompositionalCodes
from p2prec.embeddings.held_tables import held_tables, stored_tables
from p2prec.errors import StoreError
from p2prec.limits import LARGEST_VALUE, MAX_HELD_TABLES
from p2prec.models.table import OTHERS
from p2prec.models.tabled import Tabled
from p2prec.training.knowledge import Knowledge
from p2prec.training.learner import MergeReport, Received

_UPDATING: Final[Amounts] = {
    "renewed": Amount(10.0, least=1, most=256),  # the l; a book has no more words
    "whole_every": Amount(5.0, least=1, most=1_000),  # rounds
    "stack": Amount(0.0, least=0, most=1),  # 1 replaces the newest words
}


class ODUpdate(DCLR):
    """Words and codes travel in place of rows and pieces.

    Attributes:
        said: The whole table that has left last, and in which round; one that was made and
            withheld is nothing that others could change.
        held: Those of others, the one that was heard last behind.
    """

    __slots__ = ("held", "said")
    amounts: ClassVar[Amounts] = {**DCLR.amounts, **_UPDATING}
    table: ClassVar[str | None] = CompositionalCodes.name

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.said: tuple[HeldTable, int] | None = None
        self.held: OrderedDict[str, HeldTable] = OrderedDict()

    def leaving(self, knowledge: Knowledge, payloads: Sequence[Payload]) -> Sequence[Payload]:
        """Protected updates, as words and codes."""
        model, table = _coded(knowledge)
        return [
            self._coded(model, table, payload) if isinstance(payload, ModelUpdate) else payload
            for payload in payloads
        ]

    def _coded(self, model: Tabled, table: CompositionalCodes, said: ModelUpdate) -> TableUpdate:
        pieces = model.layout.part("pieces")
        items, rows = said.rows.astype(np.int64), said.values[:, : table.size]
        left = self.said  # read once: another payload may leave while this one is made
        steps = 0 if left is None else said.round - left[1]
        if left is None or not 1 <= steps < self.options["whole_every"]:
            known = table.books(table.initial_pieces()) if left is None else left[0]
            update = whole_table(rows, items, known.words)
        else:
            update = make_update(
                left[0],
                rows,
                items,
                renewed=int(self.options["renewed"]),
                steps=steps,
                mode=Mode.STACK if self.options["stack"] > 0 else Mode.QUEUE,
            )
        return TableUpdate(
            round=said.round,
            model=said.model,
            base=update.base,
            mode=update.mode,
            rows=said.rows,
            columns=said.values[:, OTHERS:],
            evidence=said.evidence,
            changed=update.changed,
            codes=update.codes,
            bits=table.bits,
            words=update.words,
            dense=np.append(said.dense[: pieces.start], said.dense[-1]),
            degree=said.degree,
        )

    def left(self, payload: Payload) -> None:
        """From now on updates change this one, where it is a whole table."""
        if not isinstance(payload, TableUpdate) or payload.mode is not Mode.WHOLE:
            return
        if self.said is None or payload.round > self.said[1]:
            self.said = apply_update(None, _code_update(payload)), payload.round

    def state(self, knowledge: Knowledge) -> dict[str, NDArray[np.generic]]:
        """Tables of others; the own one that has left is none of it, see ``restore``."""
        return stored_tables(self.held, _coded(knowledge)[1])

    def restore(self, state: Mapping[str, NDArray[np.generic]], knowledge: Knowledge) -> None:
        """Tables of others are held again, and the next own one is whole.

        A crash may have come between a whole table and the state: whoever went on from the one
        before would say nothing to those who have heard the later one.
        """
        self.held, self.said = OrderedDict(), None
        self.held = held_tables(state, _coded(knowledge)[1])

    @classmethod
    def merge_together(
        cls, methods: Sequence[Self], listeners: Sequence[Listener]
    ) -> list[MergeReport]:
        """Put together what each sender says, then as of ``dclr``."""
        heard = [m.decoded(listener) for m, listener in zip(methods, listeners, strict=True)]
        reports = super().merge_together(methods, [listener for listener, _ in heard])
        return [
            MergeReport(weights=report.weights, rejected={**other, **report.rejected})
            for report, (_, other) in zip(reports, heard, strict=True)
        ]

    def decoded(self, listener: Listener) -> tuple[Listener, dict[str, str]]:
        """Updates in place of what came, and why others were left out."""
        name = listener.knowledge.model.name
        taken: list[Received] = []
        refused: dict[str, str] = {}
        for item in sorted(listener.received, key=lambda r: r.payload.round):
            payload = item.payload
            if isinstance(payload, TableUpdate) and payload.model == name:
                update = self._heard(listener.knowledge, item.sender, payload)
                if update is None:
                    refused[item.sender] = "other_table"
                    continue
                refused.pop(item.sender, None)
                taken.append(replace(item, payload=update))
            elif isinstance(payload, TableUpdate):
                refused[item.sender] = "other_model"
            else:
                taken.append(item)
        names = {item.sender for item in taken}
        refused = {sender: why for sender, why in refused.items() if sender not in names}
        return replace(listener, received=taken), refused

    def _heard(self, knowledge: Knowledge, sender: str, said: TableUpdate) -> ModelUpdate | None:
        try:
            now = apply_update(self.held.get(sender), _code_update(said))
        except StoreError:
            return None
        rows = now.rows()
        if np.abs(rows).max(initial=0.0) > LARGEST_VALUE:  # each word may be as large alone
            return None
        if said.mode is Mode.WHOLE:
            self.held[sender] = now
        if sender in self.held:
            self.held.move_to_end(sender)
            while len(self.held) > MAX_HELD_TABLES:
                self.held.popitem(last=False)
        model, table = _coded(knowledge)
        # Words of groups stay at home: the listener's own stand for the sender's, so that the mean
        # leaves them as they are.
        own = table.books(knowledge.dense[model.layout.part("pieces")]).groups
        words = (own.ravel(), now.words.ravel())
        return ModelUpdate(
            round=said.round,
            model=said.model,
            rows=said.rows,
            values=np.hstack([rows, said.columns]),
            evidence=said.evidence,
            dense=np.concatenate([said.dense[:-1], *words, said.dense[-1:]]),
            degree=said.degree,
        )


def _code_update(said: TableUpdate) -> CodeUpdate:
    return CodeUpdate(
        base=said.base,
        mode=said.mode,
        words=said.words,
        items=said.rows.astype(np.int64),
        changed=said.changed,
        codes=said.codes,
    )


def _coded(knowledge: Knowledge) -> tuple[Tabled, CompositionalCodes]:
    model = knowledge.model
    assert isinstance(model, Tabled)  # noqa: S101 - others are refused with their settings
    assert isinstance(model.table, CompositionalCodes)  # noqa: S101
    return model, model.table
