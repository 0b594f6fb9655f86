"""Which settings of a learner go together; others are refused before anything runs."""

from __future__ import annotations

from p2prec.collaboration.methods import METHODS, build_method
from p2prec.errors import ConfigError
from p2prec.models.families import check_model
from p2prec.models.recommender import Task
from p2prec.training.config import LearnerConfig


def check_learner(config: LearnerConfig) -> None:
    """Refuse what cannot be.

    Raises:
        ConfigError: In one sentence, with what could be instead.
    """
    model, method = config.model, config.collaboration.method
    check_model(family=model.family, embedding_size=model.embedding_size, task=model.task)
    if not model.discovery > 0:
        raise ConfigError(f"discovery = {model.discovery} must be above 0; 1 is neutral")
    build_method(method, config.collaboration.options)
    if METHODS[method].sends == "probabilities" and model.task is Task.RATING:
        others = sorted(name for name, kind in METHODS.items() if kind.sends != "probabilities")
        raise ConfigError(
            f"{method} exchanges probabilities of what comes next, and a rating is none; take "
            + ", ".join(others)
        )
