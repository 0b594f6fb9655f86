"""A few peers that learn from each other for some rounds, alone or computed together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

from p2prec.collaboration.methods import METHODS
from p2prec.collaboration.payload import Payload
from p2prec.data.city import generate_city
from p2prec.models.recommender import Context, Task
from p2prec.training.config import (
    CollaborationConfig,
    LearnerConfig,
    ModelConfig,
    ProtectionConfig,
    TrainingConfig,
)
from p2prec.training.learner import Received
from p2prec.training.local import (
    LocalLearner,
    merge_together,
    payloads_together,
    train_together,
)

N_PEERS = 6
CITY = generate_city(rng=np.random.default_rng(3), n_users=N_PEERS, n_places=90, days=60)
NOW = Context(timestamp_s=1_800_000_000)


def learners(
    task: Task,
    method: str,
    lengths: Sequence[int],
    noise: float,
    *,
    model: str = "mf/4",
    row_optimizer: Literal["adagrad", "sgd"] = "adagrad",
    share: float = 1.0,
) -> list[LocalLearner]:
    family, size = model.split("/")
    config = LearnerConfig(
        model=ModelConfig(family=family, embedding_size=int(size), task=task),
        training=TrainingConfig(
            epochs=2,
            example_share=share,
            batch_size=7,
            negatives=3,
            max_examples=30,
            row_optimizer=row_optimizer,
        ),
        collaboration=CollaborationConfig(
            method=method,
            options={"max_rows": 20.0} if "max_rows" in METHODS[method].amounts else {},
        ),
        protection=ProtectionConfig(noise_multiplier=noise),
    )
    return [
        LocalLearner(
            CITY.catalogue,
            # Equal settings need not be the same object.
            dataclasses.replace(config, training=dataclasses.replace(config.training)),
            history=CITY.interactions.history(user).head(length),
            seed=user,
            device_seed=user + 100,
        )
        for user, length in enumerate(lengths)
    ]


def lived(
    peers: Sequence[LocalLearner],
    parts: Sequence[Sequence[int]],
    *,
    trained: Sequence[Sequence[int]] = (),
) -> None:
    """Three rounds in which the peers of each part are computed at once.

    Args:
        peers: All of them.
        parts: Their numbers.
        trained: Other parts in which they are trained.
    """
    for round_ in range(3):
        said: dict[int, Sequence[Payload]] = {}
        for part in trained or parts:
            train_together([peers[i] for i in part], [round_] * len(part))
        for part in parts:
            some, rounds = [peers[i] for i in part], [round_] * len(part)
            said.update(zip(part, payloads_together(some, rounds, degrees=rounds), strict=True))
        inboxes = [
            [
                Received(
                    sender=str(j),
                    payload=payload,
                    geographic=0.1 * j,
                    semantic=0.5,
                    staleness_rounds=0,
                )
                for j in range(N_PEERS)
                if (i * j + round_) % 3 == 1 and i != j
                for payload in said[j]
            ]
            for i in range(N_PEERS)
        ]
        for part in parts:
            merge_together(
                [peers[i] for i in part], [round_] * len(part), [inboxes[i] for i in part]
            )
