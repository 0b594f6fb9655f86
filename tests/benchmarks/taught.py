"""Whether small models learn anything from the soft decisions of bigger ones.

    python -m tests.benchmarks.taught scenarios/foursquare_nyc.toml --data DATA.csv.gz

LLRec is meant to have a teacher, and DCCL's second half (MoMoDistill) is distillation: here every
second learner runs the small model and the others a big one, and what comes of it is held against
the same small models alone. As ``learners.py``: the last ``--hold`` interactions of each owner are
not trained on, all of them but the last two are asked for; paired differences with a standard
error from a bootstrap over users.

Prints one JSON object; answers are of the small models alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

from p2prec.kernels import use_compiled
from peers.asking import met_again
from peers.provenance import provenance
from peers.scenario import MethodConfig, load_scenario
from peers.swarm.data import load_realm
from tests.benchmarks.learners import Answers, ask, differences, lived, means


def main() -> None:
    """Each small model alone, and taught."""
    torch.set_num_threads(1)
    use_compiled()  # the same bytes
    args, made = _arguments(), provenance()
    scenario = load_scenario(Path(args.scenario))
    scenario = replace(scenario, seed=args.seed, peers=replace(scenario.peers, count=args.peers))
    realm = load_realm(scenario, data=args.data)
    students = replace(realm, users=realm.users[::2], histories=realm.histories[::2])
    result = {
        "made_by": made,
        "scenario": scenario.name,
        "teacher": args.teacher,
        "seed": args.seed,
        "settings": args.settings,
        "students": {},
    }
    for student in args.students.split(","):
        answers = {}
        for name in ("alone", "mac"):
            method = MethodConfig(name=name, models=(student, args.teacher))
            learners = lived(
                scenario,
                method,
                realm,
                hold=args.hold,
                rounds=args.rounds,
                settings=["model.discovery=1.0", *(args.settings if name == "mac" else ())],
            )
            small = learners[::2]
            answers[name] = Answers()
            ask(small, students, answers[name], first_user=0, repeats=met_again(realm.histories))
            print(student, name, means(answers[name]), file=sys.stderr, flush=True)
        result["students"][student] = {
            **{name: means(answer) for name, answer in answers.items()},
            "questions": len(answers["mac"].rank),
            "taught, minus alone": differences(answers["mac"], answers["alone"]),
        }
    print(json.dumps(result, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenario")
    parser.add_argument("--data", default="")
    parser.add_argument("--students", default="llrec/16/tt-10,llrec/16,metapatch/16,mf/16")
    parser.add_argument("--teacher", default="next_place/16")
    parser.add_argument("--peers", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--hold", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="SECTION.KEY=VALUE"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
