"""All that can be chosen, by axis: read from the registries, so that nothing is forgotten."""

from __future__ import annotations

import inspect

from p2prec.collaboration.methods import METHODS
from p2prec.embeddings.tables import TABLES
from p2prec.evaluation import central
from p2prec.evaluation.baselines import BASELINES
from p2prec.evaluation.rating_baselines import RATING_BASELINES
from p2prec.models.families import FAMILIES
from p2prec.models.recommender import Task
from peers.with_server import WITH_A_SERVER
from topology import selection


def axes() -> dict[str, dict[str, str]]:
    """What each member of each axis is, in one sentence; by axis and member."""
    return {
        "recommender": {name: _first(model) for name, model in FAMILIES.items()},
        "task": {
            task.value: "learned by "
            + ", ".join(name for name, model in FAMILIES.items() if task in model.tasks)
            for task in Task
        },
        "embedding_size": {
            str(size): "offered by "
            + ", ".join(name for name, model in FAMILIES.items() if size in model.sizes)
            for size in sorted({size for model in FAMILIES.values() for size in model.sizes})
        },
        "table": {name: _first(table) for name, table in TABLES.items()},
        "collaboration": {name: _first(method) for name, method in METHODS.items()},
        "selection": {name: _first(selection.SELECTIONS[name]) for name in selection.SELECTIONS},
        "discovery": {
            "mdns": "on the local network; alone for a share of peers.mdns_only",
            "mqtt": "by brokers; alone for a share of peers.mqtt_only",
        },
        "transport": {
            "tcp": "between peers that mDNS can find",
            "mqtt": "by brokers, end to end encrypted all the same",
        },
        "protection": {
            "default": "pseudo items, bounded rows, few releases; Gaussian noise as a setting",
            "none": "for scenarios that measure the price of protection",
        },
        "server": {name: _first(getattr(central, name)) for name in WITH_A_SERVER},
        "baseline": {name: _first(baseline) for name, baseline in BASELINES.items()},
        "rating_baseline": {name: _first(said) for name, said in RATING_BASELINES.items()},
    }


def _first(member: object) -> str:
    text = inspect.getdoc(member) if member is not None else None
    return text.splitlines()[0].rstrip(".") if text else "uniform"
