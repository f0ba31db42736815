"""The gradient of a log-likelihood in the learned numbers of slots, from kept arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from statespace import kernels
from statespace.inference.kalman.kept import Arrays, Kept
from statespace.inference.lineargaussian.compiled import Run, run_score
from statespace.inference.lineargaussian.likelihood import _Once
from statespace.inference.lineargaussian.scores import no_moments, score_tables

__all__ = ["Alone", "Together", "WithSlope"]

_ROWS = dict.fromkeys("AbQCdR", 1)  # nothing varies in time


class WithSlope(torch.autograd.Function):
    """A log-likelihood that has been computed; backward is the score, pulled back to `theta`.

    Its tensors are y and those that are watched, so that torch refuses to go back where one of
    them was changed in place since.
    """

    @staticmethod
    def forward(ctx: Any, call: Alone | Together, *tensors: Tensor) -> Tensor:
        ctx.call = call
        ctx.save_for_backward(*tensors)
        return call.value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        tensors, wanted = ctx.saved_tensors, ctx.needs_input_grad[1:]
        parts: list[Tensor | None] = [None] * len(tensors)
        watched = ctx.call.kept.watched
        places = [i for i, needs in enumerate(wanted) if needs]  # y stands in front
        with torch.no_grad():
            whole_r = any(watched[i - 1].parameter == "R" for i in places)
            slope = ctx.call.score(grads[0].detach(), whole_r)
            for i in places:
                w = watched[i - 1]
                parts[i] = w.slot.pull(tensors[i], slope(w.parameter))
        if torch.is_grad_enabled():
            parts = [None if p is None else _Once.apply(p, *tensors) for p in parts]
        return (None, *parts)


class Alone(NamedTuple):
    """One series with a covariance of its own, as the loops saw it."""

    value: Tensor  # (*batch,)
    kept: Kept
    arrays: Arrays
    data: kernels.Data
    lanes: Any

    def score(self, weight: Tensor, whole_r: bool) -> Callable[[str], Tensor]:
        """The gradient of sum(weight * value) in the value of each parameter."""
        model, system, m = self.arrays.model, self.arrays.system, self.data.y.shape[-1]
        score = score_tables(weight.double().reshape(1, 1).numpy(), 1, system.n, m, _ROWS)
        if whole_r and m > 1 and not system.R.diagonal:
            model = model._replace(dense=True)
        value, bad = np.empty((2, 1, 1))
        none = _no_moments(system.n, self.data.y.dtype)
        kernels.announced(
            ("smooth", 1, self.arrays.dtype),
            lambda: kernels.smooth_each(
                self.lanes, model, self.data, 0, 1, value, bad, none, score
            ),
        )  # fmt: skip

        def slope(parameter: str) -> Tensor:
            found = torch.from_numpy(_entries(parameter, score))
            return found.to(self.arrays.dtype).view(_shape(parameter, system.n, m))

        return slope


class Together(NamedTuple):
    """Series in passes that they share, as the long way makes them."""

    value: Tensor
    kept: Kept
    arrays: Arrays
    run: Run

    @classmethod
    def of(cls, value: Tensor, run: Run, kept: Kept, arrays: Arrays) -> Together | None:
        """None where directions of the start were not resolved: the plain path's."""
        blind = run.known is not None and bool((run.known.blind != 0).any())
        return None if blind else cls(value, kept, arrays, run)

    def score(self, weight: Tensor, whole_r: bool) -> Callable[[str], Tensor]:
        """The gradient of sum(weight * value) in the value of each parameter."""
        s = self.arrays.system
        like = (
            self.run.y, s.A, s.b, s.Q.matrix, s.C, s.d, s.R.matrix,
            s.prior.mean, s.prior.covariance.matrix,
        )  # fmt: skip
        parts = run_score(self.run, s, weight, like, whole_r and not s.R.diagonal)
        assert parts is not None  # see `of`
        names = ("y", "A", "b", "Q", "C", "d", "R", "initial_mean", "initial_cov")
        return dict(zip(names, parts, strict=True)).__getitem__


@cache
def _no_moments(n: int, number: Any) -> kernels.Smooth:
    return no_moments(n, number)


def _entries(parameter: str, score: kernels.Score) -> NDArray[Any]:
    """The gradient in one parameter, of the tables of one series."""
    match parameter:
        case "A":
            return score.a
        case "C":
            return score.c
        case "Q" | "R":
            packed = (score.q if parameter == "Q" else score.r).ravel()
            return 0.5 * packed[_unpacked(packed.size)]
        case "b":
            return score.b
        case "d":
            return score.d
        case "initial_mean":
            return score.mean
        case _:
            return score.cov


def _shape(parameter: str, n: int, m: int) -> tuple[int, ...]:
    match parameter:
        case "b" | "initial_mean":
            return (n,)
        case "d":
            return (m,)
        case "C":
            return (m, n)
        case "R":
            return (m, m)
        case _:
            return (n, n)


@cache
def _unpacked(size: int) -> NDArray[np.intp]:
    """Where each entry of a symmetric matrix stands in its packed lower triangle, row by row."""
    n = int((2 * size) ** 0.5)
    rows = np.arange(n)
    low, high = np.maximum.outer(rows, rows), np.minimum.outer(rows, rows)
    return low * (low + 1) // 2 + high
