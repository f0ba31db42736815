"""The rows of `music.py`: models, how they are learned, and by what they are judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from music_data import KEYS

import statespace as ss
from statespace.interface import Method

__all__ = ["RECIPES", "Recipe"]


@dataclass(frozen=True)
class Recipe:
    """One row of the table: a model, how it is learned and by what it is judged.

    Attributes:
        title: What it is.
        make: Builds it.
        learner: The learner, given the file of its checkpoint.
        method: What it climbs; the model's own choice if None.
        judged_by: What its numbers are; the model's own if None.
        keys: Semitones by which the training chorales are moved.
        first: What is climbed before that, and how.
    """

    title: str
    make: Callable[[], ss.StateSpaceModel]
    learner: Callable[[Path], ss.Gradient]
    method: Method | None = None
    judged_by: Method | None = None
    keys: Sequence[int] = (0,)
    first: tuple[Method, Callable[[Path], ss.Gradient]] | None = None


def adamw(steps: int, lr: float, decay: float, **more: Any) -> Callable[[Path], ss.Gradient]:
    """Decoupled decay, and a rate that falls to zero along a cosine."""

    def learner(checkpoint: Path) -> ss.Gradient:
        return ss.Gradient(
            steps,
            lr=lr,
            optimizer="adamw",
            weight_decay=decay,
            schedule="cosine",
            checkpoint=checkpoint,
            **more,
        )

    return learner


def lstm() -> ss.StateSpaceModel:
    """Told its own output: exact."""
    return ss.AutoregressiveRNN(
        KEYS, hidden_dim=300, cell="lstm", family="bernoulli", dropout=0.3, seed=0
    )


def dkf() -> ss.StateSpaceModel:
    """Frames hang together through z alone."""
    return ss.DeepKalmanFilter(
        100, KEYS, hidden_dim=200, emission_dim=100, encoder_dim=600, encoder_cell="rnn",
        encoder_activation="relu", dropout=0.1, family="bernoulli", seed=0,
    )  # fmt: skip


def vrnn() -> ss.StateSpaceModel:
    """Memory and z as small as in the paper on FIVO (Maddison et al. 2017)."""
    return ss.VRNN(
        32, KEYS, hidden_dim=32, cell="lstm", transition_dim=100, emission_dim=100,
        posterior_dim=100, encoder_dim=100, dropout=0.1, family="bernoulli", seed=0,
    )  # fmt: skip


def srnn() -> ss.StateSpaceModel:
    """A memory of the frames beside z."""
    return ss.SRNN(64, KEYS, hidden_dim=200, family="bernoulli", dropout=0.2, seed=0)


def lstm_states() -> ss.StateSpaceModel:
    """A memory of all states."""
    return ss.LSTMStateSpace(
        64, KEYS, hidden_dim=200, emission_dim=100, encoder_dim=300, dropout=0.1,
        family="bernoulli", seed=0,
    )  # fmt: skip


SEVEN = range(-3, 4)
PATHS, PARTICLES = ss.ImportanceWeighted(16), ss.FIVO(16)

RECIPES: dict[str, Recipe] = {
    "lstm": Recipe(
        "`AutoregressiveRNN`, LSTM of 300, twelve keys",
        lstm,
        adamw(5000, 3e-3, 1e-2, batch_size=16),
        keys=range(-5, 7),
    ),
    "dkf": Recipe(
        "`DeepKalmanFilter`, z of 100, ELBO",
        dkf,
        adamw(9000, 3e-3, 0.1, batch_size=20, metric=PATHS, evaluate_every=20, clip=0.3),
        ss.Variational(beta=ss.Warmup(3000)),
        ss.ImportanceWeighted(128),
    ),
    "vrnn": Recipe(
        "`VRNN`, z of 32, LSTM of 32, seven keys, ELBO and then FIVO(4)",
        vrnn,
        adamw(2500, 2e-3, 0.1, batch_size=58, metric=PARTICLES, evaluate_every=5),
        ss.FIVO(4),
        ss.FIVO(128),
        SEVEN,
        first=(
            ss.Variational(beta=ss.Warmup(1500)),
            adamw(2000, 5e-3, 0.1, batch_size=58, metric=PARTICLES, evaluate_every=10),
        ),
    ),
    "srnn": Recipe(
        "`SRNN`, z of 64, GRU of 200, seven keys, ELBO",
        srnn,
        adamw(3000, 3e-3, 0.5, batch_size=20, metric=PATHS, evaluate_every=3, clip=0.3),
        ss.Variational(beta=ss.Warmup(1500)),
        ss.ImportanceWeighted(128),
        SEVEN,
    ),
    "lstm_states": Recipe(
        "`LSTMStateSpace`, z of 64, LSTM of 200, seven keys, ELBO",
        lstm_states,
        adamw(5000, 3e-3, 0.1, batch_size=20, metric=PARTICLES, evaluate_every=3, clip=0.3),
        ss.Variational(beta=ss.Warmup(2000)),
        ss.FIVO(128),
        SEVEN,
    ),
}
