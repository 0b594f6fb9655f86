"""The settings of what a peer learns; a scenario and an owner's file share them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from p2prec.models.recommender import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Which recommender.

    Attributes:
        family: Name in the registry of ``p2prec.models``.
        embedding_size: Columns of the item table, or width of the ranker's hidden layers.
        task: What the scores mean.
        table: How embeddings are stored; name in the registry of ``p2prec.embeddings``.
        compression: How many times smaller than a full table it is to be.
        discovery: How many times likelier a new place is taken to be than the model thinks; 1 is
            what it thinks. A list by probability alone shows an owner almost nothing new. Ratings
            are no probabilities and stay as they are.
    """

    family: str = "ranker"
    embedding_size: int = 16
    task: Task = Task.RANKING
    table: str = "full"
    compression: int = 1
    discovery: float = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """How a round of local training runs.

    Attributes:
        epochs: Passes over the owner's history in one round.
        example_share: Share of the examples that one pass uses, drawn anew for each pass. Where
            exchange teaches more than training, half of them in batches half as large and twice
            the rounds learn more from the same work (docs/results/gossip_adam.md).
        batch_size: Examples of one step.
        negatives: Sampled items an example.
        learning_rate: Of rows and private parameters; a family may have a factor on it.
        row_optimizer: ``"adagrad"``, or ``"sgd"``, whose steps on rows do not become shorter from
            round to round. Averaged over many who know a row, they need not: ratings are learned
            better so from eight messages a round, worse from one (docs/results/rival_flower.md).
            Too long steps diverge, which Adagrad's do not.
        dense_learning_rate: Of Adagrad on the dense parameters.
        explore_rate: Factor on it for the parameters of the explore decoder, which an owner's few
            first visits teach badly.
        reg: L2 pull towards the initial values.
        max_examples: Newest examples that one epoch uses; bounds a round on a long history.
    """

    epochs: int = 2
    example_share: float = 1.0
    batch_size: int = 32
    negatives: int = 64
    learning_rate: float = 0.01
    row_optimizer: Literal["adagrad", "sgd"] = "adagrad"
    dense_learning_rate: float = 0.3
    explore_rate: float = 0.3
    reg: float = 1e-2
    max_examples: int = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class CollaborationConfig:
    """With which method peers learn together.

    Attributes:
        method: Name in the registry of ``p2prec.collaboration``.
        options: The method's own settings; an unknown one is refused by the method.
    """

    method: str = "gossip_adam"
    options: dict[str, float | int | str | bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectionConfig:
    """What is done to a payload before it leaves.

    Attributes:
        method: ``"default"``, or ``"none"`` for scenarios that measure its price; an owner's
            daemon shares without protection only where it is told so by name.
        pseudo_items: Items unknown to the owner, sent along for every known one; they stay.
        clip_norm: Bound on the length of a row's change (0 switches it off).
        noise_multiplier: Gaussian noise divided by sensitivity; 0 gives no guarantee.
        delta: For the accountant.
        max_releases: Releases in ``window_s``; further ones are withheld.
        window_s: Length of the budget's window.
    """

    method: Literal["default", "none"] = "default"
    pseudo_items: float = 1.0
    clip_norm: float = 1.0
    noise_multiplier: float = 0.0
    delta: float = 1e-5
    max_releases: int = 50
    window_s: float = 90 * 86_400.0

    @property
    def given_up(self) -> tuple[str, ...]:
        """The settings, as ``key = value``, that take a part of the protection away."""
        if self.method == "none":
            return ('method = "none"',)
        off = [("pseudo_items", self.pseudo_items), ("clip_norm", self.clip_norm)]
        return tuple(f"{name} = {value:g}" for name, value in off if value <= 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerConfig:
    """Everything that decides how a peer learns."""

    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    collaboration: CollaborationConfig = field(default_factory=CollaborationConfig)
    protection: ProtectionConfig = field(default_factory=ProtectionConfig)
