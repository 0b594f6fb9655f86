"""ODUpdate: what followers hear, what a lost message costs, and what a stranger can do."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract import CITY, learner, received, same

from p2prec.collaboration.method import Listener, Options
from p2prec.collaboration.od_update import ODUpdate
from p2prec.collaboration.payload import ModelUpdate, Payload, TableUpdate
from p2prec.embeddings.code_update import Mode
from p2prec.embeddings.held_tables import held_tables, stored_tables
from p2prec.errors import ConfigError, StoreError
from p2prec.limits import MAX_HELD_TABLES
from p2prec.models.table import OTHERS
from p2prec.training.combinations import check_learner
from p2prec.training.config import CollaborationConfig, LearnerConfig, ModelConfig
from p2prec.training.local import LocalLearner
from peers.codec import decode_message, encode_message
from peers.inbox import payload_schema
from peers.messages import Share
from peers.store import Store

SCHEMA = payload_schema(CITY.catalogue, [learner(0, "od_update", family="mf").config.model])


def speaker(method: str, options: Options) -> LocalLearner:
    config = learner(1, "od_update", family="mf").config
    return LocalLearner(
        CITY.catalogue,
        replace(config, collaboration=CollaborationConfig(method=method, options=dict(options))),
        history=CITY.interactions.history(1).head(60),
        seed=1,
    )


def spoken(peer: LocalLearner, round_: int, *, leaves: bool = True) -> Payload:
    """What a peer says in a round."""
    peer.train(round_)
    [payload] = peer.payloads(round_, degree=1)
    if leaves:
        peer.left(payload)
    return payload


def speaking(method: str = "od_update", rounds: int = 1) -> tuple[LocalLearner, list[Payload]]:
    """A learner with a table of codes, and what it has said without hearing anybody."""
    peer = speaker(method, {})
    return peer, [spoken(peer, round_) for round_ in range(rounds)]


def on_the_way(payload: Payload) -> TableUpdate:
    body = encode_message(Share(payload=payload))
    share = decode_message(body, schema=SCHEMA)
    assert isinstance(share, Share)
    assert isinstance(share.payload, TableUpdate)
    return share.payload


def heard(listener: LocalLearner, *payloads: TableUpdate) -> tuple[list[ModelUpdate], dict]:
    method = listener.collaboration
    assert isinstance(method, ODUpdate)
    inbox = [received("1", payload) for payload in payloads]
    found, refused = method.decoded(Listener(knowledge=listener.knowledge, round=0, received=inbox))
    updates = [item.payload for item in found.received]
    assert all(isinstance(update, ModelUpdate) for update in updates)
    return updates, refused  # type: ignore[return-value]


def test_followers_put_together_what_would_have_been_sent() -> None:
    plain, coded = (speaking(method, rounds=4)[1] for method in ("dclr", "od_update"))
    follower = learner(0, "od_update", family="mf")
    for whole, sent in zip(plain, coded, strict=True):
        [update], refused = heard(follower, on_the_way(sent))
        assert not refused
        # Without gossip both senders have learned the same.
        assert np.array_equal(update.rows, whole.rows)
        assert np.array_equal(update.evidence, whole.evidence.astype(np.float16))
        columns = whole.values[:, OTHERS:].astype(np.float16)
        assert np.array_equal(update.values[:, OTHERS:], columns)
        assert update.dense.shape == whole.dense.shape
        said, meant = update.values[:, :OTHERS], whole.values[:, :OTHERS]
        assert np.square(said - meant).mean() < 0.35 * np.square(meant).mean()
    modes = [sent.mode for sent in coded]
    assert modes == [Mode.WHOLE, Mode.QUEUE, Mode.QUEUE, Mode.QUEUE]


def test_it_says_the_same_in_fewer_bytes() -> None:
    plain, coded = (
        [len(encode_message(Share(payload=payload))) for payload in speaking(method, rounds=4)[1]]
        for method in ("dclr", "od_update")
    )
    assert coded[0] < 0.85 * plain[0]
    assert coded[1] < coded[0]
    assert sum(coded) < 0.6 * sum(plain)


def test_what_changes_a_table_that_was_lost_is_refused_until_the_next_whole_one() -> None:
    said = [on_the_way(payload) for payload in speaking(rounds=6)[1]]
    assert [update.mode is Mode.WHOLE for update in said] == [True, *[False] * 4, True]
    peer, twin = (learner(0, "od_update", family="mf") for _ in range(2))
    report = peer.merge(1, [received("1", said[1])])
    assert report.weights == {}
    assert report.rejected == {"1": "other_table"}
    state, untouched = peer.state(), twin.state()
    assert all(np.array_equal(state[name], untouched[name]) for name in state)
    assert peer.merge(5, [received("1", said[5])]).weights.keys() == {"1"}
    # A single lost update costs nothing but itself: each changes the whole table.
    assert twin.merge(0, [received("1", said[0])]).weights.keys() == {"1"}
    assert twin.merge(4, [received("1", said[4])]).weights.keys() == {"1"}


def test_two_of_one_sender_are_heard_in_the_order_of_its_rounds() -> None:
    said = [on_the_way(payload) for payload in speaking(rounds=2)[1]]
    peer = learner(0, "od_update", family="mf")
    updates, refused = heard(peer, said[1], said[0])
    assert [update.round for update in updates] == [0, 1]
    assert not refused


def test_a_whole_table_is_sent_until_one_has_left() -> None:
    peer, follower = speaker("od_update", {}), learner(0, "od_update", family="mf")
    said = [on_the_way(spoken(peer, round_, leaves=round_ not in {0, 1, 7})) for round_ in range(9)]
    modes = [update.mode is Mode.WHOLE for update in said]
    assert modes == [True, True, True, False, False, False, False, True, True]
    for round_ in (2, 3, 4, 5, 6, 8):
        updates, refused = heard(follower, said[round_])
        assert [update.round for update in updates] == [round_]
        assert not refused


def test_a_payload_that_leaves_late_or_again_takes_nothing_back() -> None:
    peer = speaker("od_update", {"whole_every": 1.0})
    method = peer.collaboration
    assert isinstance(method, ODUpdate)
    first, second = (spoken(peer, round_, leaves=False) for round_ in range(2))
    for payload in (second, first, second):
        peer.left(payload)
        assert method.said is not None
        assert method.said[1] == 1
        assert method.said[0].words is second.words  # type: ignore[union-attr]


def restarted(peer: LocalLearner, folder: Path) -> LocalLearner:
    """The same peer, as its store has it."""
    store = Store.open(folder / "peer.db")
    store.save_progress(round_=0, neighbours=(), learner=peer.state())
    store.close()
    store = Store.open(folder / "peer.db")
    again = learner(0, "od_update", family="mf")
    again.restore(store.learner_state())
    store.close()
    return again


def test_a_follower_that_was_started_again_hears_what_it_would_have_heard(tmp_path: Path) -> None:
    said = [on_the_way(payload) for payload in speaking(rounds=3)[1]]
    peer = learner(0, "od_update", family="mf")
    peer.merge(0, [received(name, said[0]) for name in ("1", "2")])
    again = restarted(peer, tmp_path)
    assert list(again.collaboration.held) == ["1", "2"]  # type: ignore[attr-defined]
    for round_ in (1, 2):
        inbox = [received("1", said[round_])]
        reports = [each.merge(round_, inbox) for each in (peer, again)]
        assert reports[0] == reports[1]
        assert reports[0].weights.keys() == {"1"}
    assert same(peer, again)
    assert list(again.collaboration.held) == ["2", "1"]  # type: ignore[attr-defined]


def test_a_follower_that_lost_a_table_in_a_crash_changes_no_older_one(tmp_path: Path) -> None:
    said = [on_the_way(payload) for payload in speaking(rounds=11)[1]]
    peer = learner(0, "od_update", family="mf")
    peer.merge(0, [received("1", said[0])])
    again = restarted(peer, tmp_path)  # what it has heard since is not in the store
    peer.merge(5, [received("1", said[5])])
    assert peer.merge(6, [received("1", said[6])]).weights
    untouched = again.state()
    assert again.merge(6, [received("1", said[6])]).rejected == {"1": "other_table"}
    assert all(np.array_equal(untouched[name], part) for name, part in again.state().items())
    assert again.merge(10, [received("1", said[10])]).weights.keys() == {"1"}


def test_a_state_of_before_tables_were_stored_begins_without_any() -> None:
    said = [on_the_way(payload) for payload in speaking(rounds=2)[1]]
    peer, again = (learner(0, "od_update", family="mf") for _ in range(2))
    peer.merge(0, [received("1", said[0])])
    state = {n: part for n, part in peer.state().items() if not n.startswith("held_")}
    again.restore(state)
    assert again.merge(1, [received("1", said[1])]).rejected == {"1": "other_table"}


def test_a_sender_that_was_started_again_sends_a_whole_table_at_once() -> None:
    sender, said = speaking(rounds=3)
    follower = learner(0, "od_update", family="mf")
    for payload in said:
        assert heard(follower, on_the_way(payload))[0]
    again = speaker("od_update", {})
    again.restore(sender.state())
    after = [on_the_way(spoken(again, round_)) for round_ in (3, 4)]
    assert [update.mode for update in after] == [Mode.WHOLE, Mode.QUEUE]
    assert [update.round for update in heard(follower, *after)[0]] == [3, 4]
    # What was under way before, of the table that is no longer held, changes nothing.
    assert heard(follower, on_the_way(said[2])) == ([], {"1": "other_table"})


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("held_senders", lambda part: part[:-2], "of others are damaged"),
        ("held_senders", lambda part: part + 200, "names of those .* are damaged"),
        ("held_counts", lambda part: part + 1, "of others are damaged"),
        ("held_words", lambda part: part * np.nan, "of others are damaged"),
        ("held_words", lambda part: part + 2_000, "of others are damaged"),
        ("held_words", lambda part: part[..., :4], "another size than the settings ask for"),
        ("held_codes", lambda part: part[:, :1], "another size than the settings ask for"),
        ("held_codes", lambda part: part + 200, "of others are damaged"),
        ("held_items", lambda part: part + 150, "belong to another catalogue"),
        ("held_items", lambda part: part[::-1], "belong to another catalogue"),
        ("held_items", None, "lack held_items"),
    ],
)
def test_stored_tables_that_cannot_be_are_done_without(
    name: str, change: Callable[[Any], Any] | None, sentence: str
) -> None:
    peer, again = (learner(0, "od_update", family="mf") for _ in range(2))
    whole = on_the_way(speaking()[1][0])
    peer.merge(0, [received(sender, whole) for sender in ("1", "2")])
    state = peer.state()
    again.restore(state)  # as it is, it can be
    assert not again.lost
    assert again.collaboration.held  # type: ignore[attr-defined]
    part = state.pop(name)
    if change is not None:
        state[name] = change(part)
    again.restore(state)
    assert re.search(sentence, again.lost)
    assert not again.collaboration.held  # type: ignore[attr-defined]
    mine = again.state()
    assert all(
        np.array_equal(mine[kept], part) for kept, part in state.items() if kept[:5] != "held_"
    )
    assert again.merge(1, [received("1", whole)]).weights.keys() == {"1"}


def test_tables_that_are_heard_while_they_are_stored_fit_their_names() -> None:
    peer = learner(0, "od_update", family="mf")
    whole = on_the_way(speaking()[1][0])
    peer.merge(0, [received("1", whole)])
    table = peer.knowledge.model.table  # type: ignore[attr-defined]

    class Growing(OrderedDict[str, Any]):
        """Another thread hears one whenever it has been read."""

        def values(self) -> Any:
            seen = list(super().values())
            self[str(len(self) + 1)] = seen[0]
            return seen

    growing = Growing(peer.collaboration.held)  # type: ignore[attr-defined]
    assert list(held_tables(stored_tables(growing, table), table)) == ["1"]


def test_a_damaged_table_in_the_store_keeps_nobody_from_starting(tmp_path: Path) -> None:
    peer = learner(0, "od_update", family="mf")
    peer.merge(0, [received("1", on_the_way(speaking()[1][0]))])
    store = Store.open(tmp_path / "peer.db")
    store.save_progress(round_=0, neighbours=(), learner=peer.state())
    store._db.execute("UPDATE learner SET data = x'00' WHERE name = 'held_words'")
    again = learner(0, "od_update", family="mf")
    again.restore(store.learner_state())
    assert again.lost == "the stored tables of others lack held_words"
    store._db.execute("UPDATE learner SET data = x'00' WHERE name = 'values'")
    with pytest.raises(StoreError, match="array 'values' is damaged"):
        store.learner_state()
    store.close()


def test_a_stack_replaces_the_newest_words() -> None:
    peer = speaker("od_update", {"stack": 1.0, "renewed": 4.0})
    said = [spoken(peer, round_) for round_ in range(2)]
    follower = learner(0, "od_update", family="mf")
    [first, second], _ = heard(follower, *[on_the_way(payload) for payload in said])
    table = peer.knowledge.model.table  # type: ignore[attr-defined]
    before, after = (table.books(u.dense[-table.n_pieces :]).words for u in (first, second))
    n_new = said[1].words.shape[1]
    assert n_new == (1 << table.bits) // 4
    assert np.array_equal(before[:, :-n_new], after[:, :-n_new])
    assert not np.array_equal(before[:, -n_new:], after[:, -n_new:])


def test_strangers_grow_nothing_without_end() -> None:
    whole, changing = (on_the_way(payload) for payload in speaking(rounds=2)[1])
    peer = learner(0, "od_update", family="mf")
    method = peer.collaboration
    assert isinstance(method, ODUpdate)
    for number in range(MAX_HELD_TABLES + 8):
        peer.merge(0, [received(str(number), whole)])
    assert len(method.held) == MAX_HELD_TABLES
    assert "0" not in method.held
    first, second, *_ = method.held
    peer.merge(1, [received(first, changing)])  # who was heard last stays longest
    peer.merge(1, [received("new", whole)])
    assert first in method.held
    assert second not in method.held


def test_what_a_liar_says_is_refused_and_changes_nothing() -> None:
    whole, changing = (on_the_way(payload) for payload in speaking(rounds=2)[1])
    peer = learner(0, "od_update", family="mf")
    peer.merge(0, [received("1", whole)])
    state = peer.state()
    new = np.setdiff1d(np.arange(len(CITY.catalogue)), whole.rows)[: len(whole.rows)]
    lies = [
        replace(changing, base=bytes(8)),
        replace(changing, rows=np.sort(new).astype(np.uint32)[: len(changing.rows)]),
        replace(changing, model="mf/8"),
        # Each word is as large as a parameter may be, and their sums are larger.
        replace(whole, words=np.full_like(whole.words, 900.0)),
    ]
    for lie in lies:
        report = peer.merge(1, [received("1", lie)])
        assert report.weights == {}
        assert report.rejected["1"] in {"other_table", "other_model"}
    assert all(np.array_equal(state[name], part) for name, part in peer.state().items())


def test_it_is_refused_where_there_are_no_codes() -> None:
    config = LearnerConfig(
        model=ModelConfig(family="mf", embedding_size=16),
        collaboration=CollaborationConfig(method="od_update"),
    )
    with pytest.raises(ConfigError, match="take a model such as mf/16/codes-10"):
        check_learner(config)
