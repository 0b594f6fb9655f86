"""What the warm parent does once, so that no peer has to: every library's first use.

The first ML-KEM key of a process loads 6 MiB of tables, the first transaction 1.5 MiB, the first
step of training as much again: done before the fork, they are shared, done after it, every peer
pays for them in time and memory. Nothing that is made here lives on: keys are drawn afresh in
each peer, from the system's generator.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from p2prec.collaboration.payload import Payload
from p2prec.data.catalogue import Catalogue
from p2prec.models.families import parse_model
from p2prec.models.recommender import Context
from p2prec.training.config import LearnerConfig
from p2prec.training.learner import Received
from p2prec.training.local import LocalLearner
from peers.adverts import decode_advert, encode_advert
from peers.codec import decode_message, encode_message
from peers.inbox import payload_schema
from peers.keys import Keyring
from peers.messages import Endpoints, Hello, Message, Share
from peers.payload_codec import PayloadSchema
from peers.replay import BoundedReplayMemory
from peers.scenario import MethodConfig, Scenario, learner_config
from peers.sealing import Opener, seal
from peers.store import STORE_NAME, Release, Store
from peers.swarm.data import Realm

_HISTORY = 40  # interactions of the throw-away learner


def warm_up(scenario: Scenario, method: MethodConfig, realm: Realm) -> None:
    """Touch all code and all shared tables before the fork; no thread, socket or loop remains."""
    import torch

    torch.set_num_threads(1)
    models = dict.fromkeys(method.models)
    schema = payload_schema(realm.catalogue, [parse_model(model) for model in models])
    for model in models:
        payloads = _learn(realm, learner_config(scenario, method, model))
        if method.name != "alone":
            _speak(realm.catalogue, payloads, schema)


def _learn(realm: Realm, config: LearnerConfig) -> list[Payload]:
    """A throw-away learner's round, kept in a throw-away store."""
    history = realm.histories[0].head(_HISTORY)
    learner = LocalLearner(realm.catalogue, config, history=history, seed=0)
    learner.train(0)
    payloads = list(learner.payloads(0, degree=1))
    received = [
        Received(sender=s, payload=p, geographic=0.5, semantic=0.5, staleness_rounds=0)
        for p in payloads
        for s in ("a", "b")
    ]
    learner.merge(0, received)
    learner.scores(Context(timestamp_s=int(history.timestamp_s[-1]) + 60))
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(folder) / STORE_NAME)
        store.add_interactions(history)
        store.history()
        store.record_release(
            Release(round=0, time_s=0.0, kind="", recipients=0, n_bytes=0, noise_multiplier=0.0)
        )
        store.save_progress(round_=0, neighbours=(), learner=learner.state())
        store.learner_state()
        store.close()
    return payloads


def _speak(catalogue: Catalogue, payloads: list[Payload], schema: PayloadSchema) -> None:
    """Messages from a throw-away peer to itself, through all layers but the sockets."""
    "broker".encode("idna")  # what looking up a host name loads
    keyring = Keyring.create(catalogue.digest)
    advert = keyring.advert(
        endpoints=Endpoints(tcp=(("127.0.0.1", 1),)), cell_label="", now_s=0.0, lifetime_s=60.0
    )
    decode_advert(encode_advert(advert), realm=catalogue.digest, now_s=0.0)
    hello = Hello(
        advert=advert,
        binding=keyring.binding(),
        wants_reply=False,
        area="",
        sketch=b"",
        method="",
        model="",
        accepts=False,
    )
    opener = Opener(keyring, BoundedReplayMemory())
    messages: list[Message] = [hello, *(Share(payload=p) for p in payloads)]
    for message in messages:
        for envelope in seal(encode_message(message), keyring=keyring, to=advert, now_s=0.0):
            opened = opener.open(envelope, now_s=0.0)
            if opened is not None:
                decode_message(opened.body, schema=schema)
