"""Which settings of a learner go together; others are refused before anything runs."""

from __future__ import annotations

import math

from p2prec.collaboration.methods import METHODS, build_method, families_of, method_for
from p2prec.errors import ConfigError
from p2prec.limits import MAX_SESSION_ITEMS
from p2prec.models.families import check_model_of
from p2prec.models.recommender import Task
from p2prec.training.config import LearnerConfig, ProtectionConfig
from p2prec.words import check_words


def check_learner(config: LearnerConfig) -> None:
    """Refuse what cannot be.

    Raises:
        ConfigError: In one sentence, with what could be instead.
    """
    model, method = config.model, config.collaboration.method
    check_words(model, where="[model] ")
    check_words(config.training, where="[training] ")
    check_words(config.protection, where="[protection] ")
    check_model_of(model)
    if not 0 < model.discovery < math.inf:
        raise ConfigError(f"discovery = {model.discovery} must be above 0, finite; 1 is neutral")
    build_method(method, config.collaboration.options)
    _check_protection(config.protection)
    needed = METHODS[method].table
    if needed is not None and model.table != needed:
        raise ConfigError(
            f"{method} sends what a table {needed!r} is made of, and {model.table!r} has none of "
            f"it; take a model such as mf/16/{needed}-10"
        )
    check_family(model.family, method)
    if METHODS[method].sends == "sessions" and config.protection.pseudo_items >= MAX_SESSION_ITEMS:
        raise ConfigError(
            f"[protection] pseudo_items = {config.protection.pseudo_items:g} are more than go "
            f"into a session beside one item; {method} takes at most {MAX_SESSION_ITEMS - 1}"
        )
    if METHODS[method].sends == "sessions" and config.protection.noise_multiplier:
        raise ConfigError(
            f"[protection] noise_multiplier = {config.protection.noise_multiplier:g} is noise on "
            f"parameters, and {method} sends none; leave it at 0"
        )
    deciding = {"probabilities", "both"}
    if METHODS[method].sends in deciding and model.task is Task.RATING:
        able = ((name, kind) for name, kind in METHODS.items() if kind.family is None)
        others = sorted(name for name, kind in able if kind.sends not in deciding)
        raise ConfigError(
            f"{method} exchanges probabilities of what comes next, and a rating is none; take "
            + ", ".join(others)
        )


def check_family(family: str, method: str) -> None:
    """Refuse a model that learns nothing from a method.

    Raises:
        ConfigError: In one sentence, with what could be instead.
    """
    own = METHODS[method].family
    if own is not None and family != own:
        raise ConfigError(
            f"{method} spreads what only {own} learns from, not {family}; take a model such as "
            f"{own}/16"
        )
    if METHODS[method].sends != "nothing" and family not in families_of(method):
        raise ConfigError(
            f"{family} learns from what {method_for(family)} spreads, and from nothing that "
            f'{method} sends; take method = "{method_for(family)}"'
        )


def _check_protection(protection: ProtectionConfig) -> None:
    for name in ("pseudo_items", "clip_norm", "noise_multiplier"):
        value = getattr(protection, name)
        if not 0 <= value < math.inf:
            raise ConfigError(f"[protection] {name} = {value} must be 0 or more")
    if not 0 < protection.delta < 1:
        raise ConfigError(f"[protection] delta = {protection.delta} must be between 0 and 1")
    if protection.max_releases < 0 or not protection.window_s > 0:
        raise ConfigError("[protection] max_releases must be 0 or more, and window_s above 0")
    if protection.noise_multiplier and (protection.method == "none" or not protection.clip_norm):
        # Noise is measured in clips: the ledger would claim a guarantee that nobody gave.
        raise ConfigError(
            f"[protection] noise_multiplier = {protection.noise_multiplier:g} needs "
            'method = "default" and a clip_norm above 0, since noise is a multiple of the clip'
        )
