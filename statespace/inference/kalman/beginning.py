"""The start of a model in plain arrays, and the way back: see `lineargaussian.start`.

A stationary block has P = A P A' + Q and m = (I - A)^-1 b. With G and g the gradients in P and m,
X = A' X A + G gives dQ = X and dA = 2 X A P, and (I - A') l = g gives db = l and dA = l m'.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from statespace.errors import InputError

__all__ = ["Beginning", "Begun"]

Array = NDArray[np.float64]

_DOUBLINGS = 60  # 2^60 steps, as `linalg.lyapunov`
_WIDE = 1e4  # as `start`: a prior so much wider than the noise is kept in columns
_LONG = 1e12  # a memory of so many steps: the long way sees whether it ends
_SMALL = 4  # states
_PIVOT = 1e-7  # of a root beside its row: below it digits are lost


class Begun(NamedTuple):
    """A start at one point: the mean (n,), a root (n, n), and P of the stationary block."""

    mean: Array
    root: Array
    stationary: Array


class Beginning:
    """How the states of a model start.

    Args:
        kinds: One word for each state.

    Attributes:
        flat: The diffuse states.
        moves: Whether a part of it is stationary, and so moves with A, b and Q.
        own: One for a state whose moments are numbers of their own, zero for the others, (n,).
    """

    def __init__(self, kinds: Sequence[str]) -> None:
        words = np.array(kinds)
        self.flat = np.flatnonzero(words == "diffuse")
        self._block = np.flatnonzero(words == "stationary")
        self.own = ((words == "known") | (words == "estimate")).astype(np.float64)
        self.moves = len(self._block) > 0
        self._grid = np.ix_(self._block, self._block)
        self._proper = np.flatnonzero(words != "diffuse")
        self._eye = np.eye(len(self._block))
        self._share, self._size = np.ones(len(words)), (-1.0, -1.0)

    def at(self, a: Array, b: Array, q: Array, c: Array, r: Array, given: Begun) -> Begun | None:
        """The start at a point; None where plain arrays do not serve.

        Args:
            a: A.
            b: Of the transition.
            q: A root of Q.
            c: C, (T or 1, m, n).
            r: A root of R.
            given: The moments that are known or estimated, zero elsewhere.

        Raises:
            InputError: there is no stationary start here.
        """
        mean, root, block = given.mean, given.root, given.stationary
        if self.moves:
            a_s, q_s = a[self._grid], q[self._block]
            solved = _lyapunov(a_s, q_s @ q_s.T)
            small = None if solved is None else _cholesky(solved)
            if solved is None or small is None:
                if not np.abs(np.linalg.eigvals(a_s)).max() < 1:
                    raise InputError("A has no stationary distribution")
                return None
            block = solved
            mean, root = mean.copy(), root.copy()
            push = b[self._block]  # what is given may be numbers of another kind of start
            mean[self._block] = np.linalg.solve(self._eye - a_s, push) if push.any() else 0.0
            root[self._grid] = small
        wide = self._wide(a, q, c, r)
        if len(self._proper) and (np.square(root).sum(1) > _WIDE * wide)[self._proper].any():
            return None
        if len(self.flat):
            root = root.copy()
            root[self.flat, self.flat] = np.sqrt(wide[self.flat])
        return Begun(mean, root, block)

    def _wide(self, a: Array, q: Array, c: Array, r: Array) -> Array:
        """The size of the noise in each state, kept until it is another by an order of magnitude.

        It is a measure only: of the ordinary share of flat states, where any does, and of what
        counts as wide.
        """
        size = float(np.abs(q).max(initial=0.0)), float(np.abs(r).max(initial=0.0))
        alike = all(0.1 * old <= new <= 10 * old for new, old in zip(size, self._size, strict=True))
        if not alike:
            self._share, self._size = _noise(a, q, c, r), size
        return self._share

    def back(
        self, a: Array, found: Begun, d_mean: Array, d_cov: Array
    ) -> tuple[Array, Array, Array] | None:
        """What the gradient of a stationary start adds to those in A, b and Q; None: no answer.

        Args:
            a: A.
            found: The start.
            d_mean: The gradient in the mean of z_1.
            d_cov: And in its covariance.
        """
        a_s, n = a[self._grid], len(a)
        x = _lyapunov(a_s.T, d_cov[self._grid])
        if x is None:
            return None
        pull = np.linalg.solve((self._eye - a_s).T, d_mean[self._block])
        d_a, d_b, d_q = np.zeros((n, n)), np.zeros(n), np.zeros((n, n))
        d_a[self._grid] = 2 * x @ a_s @ found.stationary + np.outer(pull, found.mean[self._block])
        d_b[self._block] = pull
        d_q[self._grid] = x
        return d_a, d_b, d_q


def _lyapunov(a: Array, q: Array) -> Array | None:
    """P = A P A' + Q for a symmetric Q; None where the sum over all steps does not end (soon).

    A few states by one linear system, whose answer is positive definite only if A is stable; more
    by doubling.
    """
    q, n = 0.5 * (q + q.T), len(a)
    if n <= _SMALL:
        pairs = np.multiply.outer(a, a).transpose(0, 2, 1, 3).reshape(n * n, n * n)
        try:
            p = np.linalg.solve(np.eye(n * n) - pairs, q.reshape(-1)).reshape(n, n)
        except np.linalg.LinAlgError:
            return None
        return 0.5 * (p + p.T) if np.abs(p).max() < _LONG * np.abs(q).max() else None
    p, most = q, _LONG * np.abs(q).max()
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(_DOUBLINGS):
            step = a @ p @ a.T
            p = p + step
            size = np.abs(step).max()
            if size <= 1e-17 * np.abs(p).max():
                return p
            if not size < most:
                return None
            a = a @ a
    return None


def _cholesky(p: Array) -> Array | None:
    """A root; None where some digits of it are lost."""
    try:
        root = np.asarray(np.linalg.cholesky(p), np.float64)
    except np.linalg.LinAlgError:
        return None
    few = (root.diagonal() < _PIVOT * np.sqrt(p.diagonal())).any()
    return None if few else root


def _noise(a: Array, q: Array, c: Array, r: Array) -> Array:
    """For each state, the variance at which the data can tell it from noise: `noise_variance`."""
    noise = np.square(r).sum(-1)  # (m,)
    reach = np.zeros(c.shape[1:])
    path = c
    for _ in range(len(a)):
        reach = np.maximum(reach, np.square(path).max(0))
        noise = noise + np.square(path @ q).sum(-1).max(0)
        path = path @ a
    seen = reach > 0
    unit = np.where(seen, reach, 1.0)
    some = seen & (noise > 0)[:, None]
    share = np.where(some, noise[:, None] / unit, np.inf).min(0)
    blind = np.where(seen, 1 / unit, 1.0).min(0)
    return np.where(np.isfinite(share), share, blind)
