"""The problems as plain numpy arrays, so that no library is favoured by their form."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Problem:
    """A linear-Gaussian model and its data.

    z_1 ~ N(m1, P1) (flat where `diffuse`), z_t = A z_{t-1} + w_t, y_t = C z_t + v_t,
    w ~ N(0, Q), v ~ N(0, R). All arrays have the dtype of the computation.

    Attributes:
        y: (T, m), or (series, T, m) for a panel; NaN is "not observed".
        diffuse: whether every state starts flat, in place of N(m1, P1).
    """

    A: Array
    Q: Array
    C: Array
    R: Array
    m1: Array
    P1: Array
    y: Array
    diffuse: bool = False

    @property
    def n(self) -> int:
        return self.A.shape[-1]

    @property
    def m(self) -> int:
        return self.C.shape[-2]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.y.dtype

    @property
    def complete(self) -> bool:
        return not bool(np.isnan(self.y).any())

    @property
    def partial_rows(self) -> bool:
        """Whether some row is observed in part."""
        missing = np.isnan(self.y)
        return bool((missing.any(-1) & ~missing.all(-1)).any())

    def cast(self, dtype: type) -> Problem:
        """The same numbers in another precision."""
        names = ("A", "Q", "C", "R", "m1", "P1", "y")
        return replace(self, **{k: getattr(self, k).astype(dtype) for k in names})

    def scaled(self, c: float) -> Problem:
        """The data in other units: y -> c y, and the model with it."""
        return replace(
            self,
            Q=c**2 * self.Q,
            R=c**2 * self.R,
            m1=c * self.m1,
            P1=c**2 * self.P1,
            y=c * self.y,
        )


@dataclass(frozen=True)
class Volatility:
    """Stochastic volatility and data from it.

    z_1 stationary, z_t = mu + phi (z_{t-1} - mu) + sigma w_t, y_t = exp(z_t / 2) v_t.

    Attributes:
        y: (T, 1), or (series, T, 1).
        particles: how many a filter is to have.
    """

    mu: float
    phi: float
    sigma: float
    y: Array
    particles: int


def volatility(T: int, particles: int, series: int | None = None, seed: int = 0) -> Volatility:
    """Data with the parameters of Pitt and Shephard (1999), mu apart."""
    g = np.random.default_rng(seed)
    mu, phi, sigma = -1.02, 0.9702, 0.178
    lead = () if series is None else (series,)
    z = mu + sigma / np.sqrt(1 - phi**2) * g.standard_normal(lead)
    y = np.empty((*lead, T, 1))
    for t in range(T):
        z = mu + phi * (z - mu) + sigma * g.standard_normal(lead) if t else z
        y[..., t, 0] = np.exp(z / 2) * g.standard_normal(lead)
    return Volatility(mu, phi, sigma, y, particles)


@dataclass(frozen=True)
class Rolls:
    """Series of zeros and ones of unequal lengths, as notes of music are.

    Attributes:
        series: (T_i, 88) each, float32.
        batch: how many of them an update sees.
    """

    series: list[Array]
    batch: int


# Deciles of the lengths of 229 chorales of Bach in quarter notes, those that Pyro's tutorial trains
# on; 4.4 % of their notes are on.
_LENGTHS = (25, 41, 45, 49, 52, 57, 64, 65, 72, 85, 129)


def rolls(count: int = 229, batch: int = 20, seed: int = 0) -> Rolls:
    """Notes at random in series as long as those of the chorales: time does not hang on values."""
    g = np.random.default_rng(seed)
    spread = np.interp(np.linspace(0, 1, count), np.linspace(0, 1, len(_LENGTHS)), _LENGTHS)
    lengths = g.permutation(spread.round().astype(int))
    return Rolls([(g.random((T, 88)) < 0.044).astype(np.float32) for T in lengths], batch)


def grewal_andrews(e: float) -> Problem:
    """One update with two nearly equal, nearly exact outputs (Grewal and Andrews 2015, 7.2)."""
    eye = np.eye(3)
    C = np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0 + e]])
    return Problem(eye, eye, C, e**2 * np.eye(2), np.zeros(3), eye, np.ones((1, 2)))


def nile(y: Array) -> Problem:
    """The local level model of the Nile, flat start (Durbin and Koopman 2012, chapter 2)."""
    one = np.eye(1)
    return Problem(one, 1469.1 * one, one, 15099.0 * one, np.zeros(1), one, y, diffuse=True)


def wide_prior() -> Problem:
    """A prior variance of 1e12 beside noise of 1e-4 and 1e-6."""
    g = np.random.default_rng(0)
    n, m, T = 3, 2, 6
    A, C = 0.97 * np.linalg.qr(g.standard_normal((n, n)))[0], g.standard_normal((m, n))
    y = g.standard_normal((T, m))
    parts = (1e-6 * np.eye(n), C, 1e-4 * np.eye(m), np.zeros(n), 1e12 * np.eye(n))
    return Problem(A, *parts, y)


def ordinary(
    n: int, m: int, T: int, *, series: int | None = None, missing: float = 0.0, seed: int = 0
) -> Problem:
    """A stable model with full covariances, and data drawn from it.

    Args:
        n, m, T: sizes.
        series: the number of series of a panel; None for one series without a panel's axis.
        missing: the share of entries taken away at random.
        seed: of the model, the data and the gaps.
    """
    g = np.random.default_rng(seed)
    A = 0.95 * np.linalg.qr(g.standard_normal((n, n)))[0]
    C = g.standard_normal((m, n))
    Q, R = _covariance(g, n), _covariance(g, m)
    P1 = np.eye(n)
    lead = () if series is None else (series,)
    z = g.standard_normal((*lead, n))
    y = np.empty((*lead, T, m))
    q, r = np.linalg.cholesky(Q), np.linalg.cholesky(R)
    for t in range(T):
        z = z @ A.T + g.standard_normal((*lead, n)) @ q.T if t else z
        y[..., t, :] = z @ C.T + g.standard_normal((*lead, m)) @ r.T
    y[g.random(y.shape) < missing] = np.nan
    return Problem(A, Q, C, R, np.zeros(n), P1, y)


def tanh_network(n: int, m: int, T: int, *, series: int | None = None, seed: int = 0) -> Problem:
    """z_t = tanh(A z_{t-1}) + w_t, y_t = C z_t + v_t, and data drawn from it; see `ordinary`."""
    g = np.random.default_rng(seed)
    A = 1.2 * np.linalg.qr(g.standard_normal((n, n)))[0]
    C = g.standard_normal((m, n)) / np.sqrt(n)
    Q, R = 0.1 * _covariance(g, n), 0.5 * _covariance(g, m)
    q, r = np.linalg.cholesky(Q), np.linalg.cholesky(R)
    lead = () if series is None else (series,)
    z, y = g.standard_normal((*lead, n)), np.empty((*lead, T, m))
    for t in range(T):
        z = np.tanh(z @ A.T) + g.standard_normal((*lead, n)) @ q.T if t else z
        y[..., t, :] = z @ C.T + g.standard_normal((*lead, m)) @ r.T
    return Problem(A, Q, C, R, np.zeros(n), np.eye(n), y)


def _covariance(g: np.random.Generator, size: int) -> Array:
    root = g.standard_normal((size, size)) / np.sqrt(size)
    return 0.2 * np.eye(size) + 0.5 * root @ root.T
