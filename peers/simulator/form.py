"""The records that a saved simulation is made of."""

from __future__ import annotations

from typing import Final

from p2prec.collaboration.decisions import Soft
from p2prec.collaboration.payload import (
    DirectedUpdate,
    ModelUpdate,
    ReferenceSequence,
    ReferenceSet,
    SessionSet,
    SoftPredictions,
    TableUpdate,
)
from p2prec.collaboration.references import ReferencePool
from p2prec.embeddings.code_update import HeldTable, Mode
from p2prec.evaluation.answers import Answer
from p2prec.models.habits import Habits
from p2prec.models.moments import Moment
from p2prec.training.learner import MergeReport, TrainingReport
from peers import events as ev
from peers.acquaintances import Acquaintance
from peers.life import Phase
from peers.messages import Advert, Endpoints, Goodbye, Hello, Share, Shuffle
from peers.replay import BoundedReplayMemory
from peers.simulator.devices import Battery
from peers.simulator.happenings import HAPPENINGS
from peers.simulator.meeting import Announcement, Topic
from peers.simulator.peer import Saved
from peers.simulator.records import Records
from peers.swarm.summary import MethodRun

_SHARED: Final = (
    Advert, DirectedUpdate, ModelUpdate, Moment, ReferenceSequence, ReferenceSet, SoftPredictions,
    SessionSet, TableUpdate,
)  # fmt: skip
_EVENTS: Final = (
    ev.AdvertGone, ev.AdvertSeen, ev.Advertised, ev.Arrived, ev.InteractionsAdded, ev.Merged,
    ev.PayloadsReady, ev.SendFailed, ev.Source, ev.Started, ev.StopRequested, ev.Timer,
    ev.TimerFired, ev.Trained,
)  # fmt: skip
_OTHERS: Final = (
    Acquaintance, Announcement, Answer, Battery, BoundedReplayMemory, Endpoints, Goodbye, Habits,
    HeldTable, Hello, MergeReport, MethodRun, Mode, Phase, ReferencePool, Saved, Share, Shuffle,
    Soft, Topic, TrainingReport,
)  # fmt: skip
RECORDS: Final = Records((*_SHARED, *_EVENTS, *HAPPENINGS, *_OTHERS), shared=_SHARED)
