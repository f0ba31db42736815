"""What a benchmark asks of a library."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..problems import Array, Problem, Rolls, Volatility

WIDTHS = (1e6, 1e8, 1e10, 1e12)  # prior variances that stand for a flat start where there is none
Calls = dict[str, Callable[[], Any]]  # by setting; the best of them stands for the library


class NotOffered(Exception):
    """The library cannot do this; the message is the reason, as it stands in the report."""


class Moments(NamedTuple):
    """What a smoother gives: (..., T, n) and (..., T, n, n)."""

    mean: Array
    cov: Array


class Library:
    """One contestant. Each verb gives calls that start from numpy data and end with numbers.

    A model is made once, outside the call, as its users do; whatever the library does with the
    data on each call is inside.
    """

    name: ClassVar[str]
    package: ClassVar[str]
    also: ClassVar[tuple[str, ...]] = ()  # packages it computes with, whose versions matter
    settings: ClassVar[str]  # what was tried, in words, for the report
    rounding: ClassVar[float] = 1e-8  # relative difference from our answers that is none

    @property
    def versions(self) -> str:
        return ", ".join(f"{p} {metadata.version(p)}" for p in (self.package, *self.also))

    def log_likelihood(self, p: Problem) -> Calls:
        """log p(y), a number, or one for each series of a panel."""
        raise NotOffered("no log-likelihood")

    def smooth(self, p: Problem) -> Calls:
        """`Moments` of the states given all data."""
        raise NotOffered("no smoother")

    def means(self, p: Problem) -> Calls:
        """Their means alone, (..., T, n)."""
        raise NotOffered("no smoother")

    def gradient(self, p: Problem) -> Calls:
        """The gradient of log p(y) in A, C, Q and R; returned are the parts in A and C."""
        raise NotOffered("no gradient")

    def em_step(self, p: Problem) -> Calls:
        """One iteration of EM in every parameter: A, C, Q and R after it."""
        raise NotOffered("no EM over a panel")

    def particles(self, p: Volatility, *, declared: bool = True) -> Calls:
        """An estimate of log p(y) by bootstrap particles, a number or one for each series.

        Systematic resampling at half the particles. Where not `declared`, the model is known by its
        densities alone, as functions of a user's own.
        """
        raise NotOffered("no particle filter")

    def extended_filter(self, p: Problem) -> Calls:
        """`Moments` filtered by tangents, of `tanh_network`."""
        raise NotOffered("no network")

    def extended_smooth(self, p: Problem) -> Calls:
        """`Moments` of its states given all data."""
        raise NotOffered("no network")

    def unscented_filter(self, p: Problem) -> Calls:
        """`Moments` filtered by sigma points, alpha = 1 and beta = kappa = 0."""
        raise NotOffered("no network")

    def extended_gradient(self, p: Problem) -> Calls:
        """The log-likelihood by tangents, summed over series, and its gradient in A alone."""
        raise NotOffered("no network")

    def deep_markov(self, p: Rolls) -> Calls:
        """The seconds of the second epoch of a deep Markov model, in the sizes of `Pyro`."""
        raise NotOffered("no deep models")

    def fit_level(self, y: Array) -> Calls:
        """A local level model with a flat start fitted to y (T, 1); the log-likelihood there."""
        raise NotOffered("no structural models")


def flat_start(log_likelihood: Callable[[Problem], float], p: Problem, width: float) -> float:
    """log p(y) for a flat start by a very wide one, for those who offer nothing else.

    The limit of log p(y) + (n / 2) log(width), width the prior variance of each state.
    """
    wide = Problem(p.A, p.Q, p.C, p.R, p.m1, width * np.eye(p.n, dtype=p.dtype), p.y)
    return log_likelihood(wide) + 0.5 * p.n * float(np.log(width))
