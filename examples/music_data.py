"""Chorales for `music.py`: what is learned from and chosen by, two baselines, nats per frame.

A frame is 88 zeros and ones, the keys that sound for the length of a quarter note; a silent frame
is data like any other. Everything is pooled: the sum over all frames of all pieces, divided by
the number of frames, so that a long piece weighs more than a short one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import statespace as ss
from statespace.interface import Method

__all__ = [
    "KEYS",
    "Music",
    "baselines",
    "chorales",
    "markov",
    "nats",
    "scored",
    "static",
    "transposed",
]

KEYS = 88
HALF = 0.5  # added to every count, so that a note never heard is improbable, not impossible


@dataclass(frozen=True)
class Music:
    """Piano rolls, each (T, 88) of zeros and ones, float32: as `fit` and `score` take them."""

    train: list[Tensor]
    valid: list[Tensor]


def chorales() -> Music:
    """The JSB chorales in quarter notes (`statespace.datasets.jsb_chorales`)."""
    return Music(ss.datasets.jsb_chorales("train"), ss.datasets.jsb_chorales("valid"))


def transposed(rolls: Sequence[Tensor], shifts: Sequence[int] = range(-5, 7)) -> list[Tensor]:
    """Copies of all pieces, moved by some semitones; one that would leave the keys is left out.

    Args:
        rolls: (T, 88) each.
        shifts: Semitones; 0 is the piece itself. The default gives every piece in twelve keys.
    """
    copies = []
    for roll in rolls:
        heard = roll.any(0).nonzero()[:, 0]
        low, high = (int(heard[0]), int(heard[-1])) if len(heard) else (KEYS, -1)
        copies += [
            roll.roll(shift, -1) for shift in shifts if low + shift >= 0 and high + shift < KEYS
        ]
    return copies


# ------------------------------------------------------------------ baselines


def static(train: Sequence[Tensor]) -> Callable[[Tensor], Tensor]:
    """Each key sounds as often as in the training pieces, whatever came before.

    Returns:
        A function from a piece (T, 88) to the log probability of each frame, (T,).
    """
    logits = _shares(torch.cat(list(train)).double())

    def log_prob(roll: Tensor) -> Tensor:
        return _log_bernoulli(logits.expand(roll.shape), roll)

    return log_prob


def markov(train: Sequence[Tensor]) -> Callable[[Tensor], Tensor]:
    """Each key is a Markov chain of its own: on or off, given whether it was; frame 1 as `static`.

    Returns:
        A function from a piece (T, 88) to the log probability of each frame, (T,).
    """
    before = torch.cat([roll[:-1] for roll in train]).double()
    after = torch.cat([roll[1:] for roll in train]).double()
    first = _shares(torch.cat(list(train)).double())
    held, struck = _shares(after, before), _shares(after, 1 - before)

    def log_prob(roll: Tensor) -> Tensor:
        logits = torch.where(roll[:-1] > 0, held, struck)
        return _log_bernoulli(torch.cat([first[None], logits]), roll)

    return log_prob


def baselines(music: Music) -> dict[str, float]:
    """Nats per frame of the validation pieces, by name."""
    known = {"static Bernoulli": static(music.train), "Markov chain per key": markov(music.train)}
    return {
        name: -float(torch.cat([log_prob(roll) for roll in music.valid]).mean())
        for name, log_prob in known.items()
    }


def _shares(frames: Tensor, weight: Tensor | None = None) -> Tensor:
    """Logits of how often each key sounds, (88,), of frames that count as much as `weight`."""
    weight = torch.ones_like(frames) if weight is None else weight
    return torch.logit(((weight * frames).sum(0) + HALF) / (weight.sum(0) + 2 * HALF))


def _log_bernoulli(logits: Tensor, roll: Tensor) -> Tensor:
    density = torch.distributions.Bernoulli(logits=logits, validate_args=False)
    return density.log_prob(roll.double()).sum(-1)


# ------------------------------------------------------------------ models


def scored(
    model: ss.StateSpaceModel,
    rolls: Sequence[Tensor],
    method: Method | None = None,
    *,
    seed: int = 0,
    at_once: int = 16,
) -> ss.Score:
    """The log-likelihood, or a bound, or an estimate of it, pooled over all frames.

    Args:
        model: The model.
        rolls: (T, 88) each.
        method: By what; the model's own if None.
        seed: Of its samples.
        at_once: Pieces to a call: those of like length together, so that little is padded and
            the paths or particles of few pieces are in memory.
    """
    pieces = sorted(rolls, key=len)
    parts = [
        model.score(pieces[k : k + at_once], method=method, seed=seed)
        for k in range(0, len(pieces), at_once)
    ]
    return ss.Score(
        torch.tensor([part.value for part in parts], dtype=torch.float64),
        torch.tensor([part.stderr for part in parts], dtype=torch.float64),
        kind=parts[0].kind,
        n_steps=torch.tensor([part.n_steps for part in parts]),
        n_values=torch.tensor([part.n_values for part in parts]),
        num_samples=parts[0].num_samples,
        seed=parts[0].seed,
    )


def nats(score: ss.Score) -> float:
    """Nats per frame, the lower the better."""
    return -score.per_step
