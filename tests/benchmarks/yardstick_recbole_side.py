"""RecBole's side: runs in its own environment, where nothing of this project is installed.

    python yardstick_recbole_side.py WORK.npz SCORES.npz '{"model": "BPR", "seed": 0, ...}'

Everything is RecBole's own: data, sampling, model, trainer, early stopping. Of all tries the one
with the best NDCG@10 on the validation interactions scores all items for every user.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray

# RecBole 1.2.1 reads names that NumPy 2 has dropped, and a method that SciPy 1.14 has.
for _name, _kind in {"float_": np.float64, "complex_": np.complex128, "unicode_": np.str_}.items():
    setattr(np, _name, _kind)
scipy.sparse.dok_matrix._update = lambda self, entries: self._dict.update(entries)

from recbole.config import Config  # noqa: E402
from recbole.data import create_dataset, data_preparation  # noqa: E402
from recbole.data.interaction import Interaction  # noqa: E402
from recbole.utils import get_model, get_trainer, init_seed  # noqa: E402

_NAME = "work"  # of the data set, for RecBole
_USERS_AT_ONCE = 128
_COMMON = {
    "use_gpu": False,
    "show_progress": False,
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    # The last interaction of each user tests, the one before validates.
    "eval_args": {
        "split": {"LS": "valid_and_test"},
        "order": "TO",
        "group_by": "user",
        "mode": "full",
    },
    "metrics": ["NDCG"],
    "topk": [10],
    "valid_metric": "NDCG@10",
}


class _TimeIsUpError(Exception):
    """A try has had its minutes."""


def main() -> None:
    """Try, choose, score; prints one JSON object."""
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    work, out, order = np.load(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    sys.argv = sys.argv[:1]  # RecBole reads its settings from there too
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder), work["user"], work["item"])
        done = [
            _tried(Path(folder), number, settings, order)
            for number, settings in enumerate(order["tries"])
        ]
        best = max(done, key=lambda one: float(one["valid_ndcg@10"]))
        scores, own_figure = best["scorer"](int(work["n_items"]))
    for one in done:
        del one["scorer"]
    best["test_ndcg@10"] = own_figure
    np.savez(out, scores=scores)
    print(json.dumps({"chosen": best, "tries": done}))


def _write(folder: Path, user: NDArray[np.int64], item: NDArray[np.int64]) -> None:
    """As a file of RecBole's; places in a history stand for times, some of which are equal."""
    (folder / _NAME).mkdir()
    lines = ["user_id:token\titem_id:token\ttimestamp:float"]
    lines += [f"{u}\t{i}\t{n}" for n, (u, i) in enumerate(zip(user, item, strict=True))]
    (folder / _NAME / f"{_NAME}.inter").write_text("\n".join(lines) + "\n")


def _tried(
    folder: Path, number: int, settings: dict[str, Any], order: dict[str, Any]
) -> dict[str, Any]:
    """One model trained with one choice of settings."""
    begun = time.process_time()
    config = Config(
        model=order["model"],
        dataset=_NAME,
        config_dict={
            **_COMMON,
            "data_path": str(folder),
            "checkpoint_dir": str(folder / f"try-{number}"),
            "seed": order["seed"],
            "epochs": order["epochs"],
            "stopping_step": order["patience"],
            "repeatable": order["repeats"],
            **order["settings"],
            **settings,
        },
    )
    init_seed(config["seed"], reproducibility=True)
    train, valid, test = data_preparation(config, create_dataset(config))
    model = get_model(order["model"])(config, train.dataset)
    trainer = get_trainer(config["MODEL_TYPE"], order["model"])(config, model)
    epochs, valid_scores = [0], [0.0]

    def after(epoch: int, valid_score: float) -> None:
        epochs[0] = epoch + 1
        valid_scores.append(float(valid_score))
        if time.process_time() - begun > 60 * order["minutes"]:
            raise _TimeIsUpError

    ended = "converged"
    try:
        trainer.fit(train, valid, verbose=False, show_progress=False, callback_fn=after)
        if epochs[0] == order["epochs"]:
            ended = "epochs"
    except _TimeIsUpError:
        ended = "minutes"

    def scorer(n_items: int) -> tuple[NDArray[np.float32], float]:
        # A file that this process has just written.
        model.load_state_dict(
            torch.load(trainer.saved_model_file, weights_only=False)["state_dict"]
        )
        model.eval()
        itself = trainer.evaluate(test, load_best_model=False, show_progress=False)
        return _scores(model, test, n_items), float(itself["ndcg@10"])

    return {
        "settings": settings,
        "valid_ndcg@10": max(valid_scores),
        "epochs": epochs[0],
        "ended": ended,
        "seconds": round(time.process_time() - begun, 1),
        "scorer": scorer,
    }


@torch.no_grad()
def _scores(model: Any, test: Any, n_items: int) -> NDArray[np.float32]:
    """Shape ``(n_users, n_items)``; minus infinity for items that nobody has met."""
    data = test.dataset
    n_users = data.user_num - 1  # RecBole's row 0 is padding, for users and for items
    rows = torch.tensor([data.token2id(data.uid_field, str(user)) for user in range(n_users)])
    if test.is_sequential:  # what came before the test interaction is the question
        of = data.inter_feat[data.uid_field].argsort()
        asked = data.inter_feat[of[torch.searchsorted(data.inter_feat[data.uid_field][of], rows)]]
    else:
        asked = Interaction({data.uid_field: rows})
    known = data.field2id_token[data.iid_field][1:].astype(np.int64)
    scores = np.full((n_users, n_items), -np.inf, np.float32)
    for start in range(0, n_users, _USERS_AT_ONCE):
        part = slice(start, min(start + _USERS_AT_ONCE, n_users))
        found = model.full_sort_predict(asked[part]).view(part.stop - start, -1).numpy()
        scores[part, known] = found[:, 1:]
    return scores


if __name__ == "__main__":
    main()
