"""The gradient of a log-likelihood in the learned numbers of slots, from kept arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from statespace import kernels
from statespace.inference.kalman.kept import Arrays, Kept
from statespace.inference.lineargaussian.compiled import Run
from statespace.inference.lineargaussian.compiled_back import run_score
from statespace.inference.lineargaussian.likelihood import Once
from statespace.inference.lineargaussian.scores import NO_SECOND, no_moments, score_tables

__all__ = ["Alone", "Together", "WithSlope", "learned", "one", "swept"]

# which table of a score has each parameter, and its shape
_PLACES = {
    "A": ("a", "nn"),
    "Q": ("q", "nn"),
    "C": ("c", "mn"),
    "R": ("r", "mm"),
    "b": ("b", "n"),
    "d": ("d", "m"),
    "initial_mean": ("mean", "n"),
    "initial_cov": ("cov", "nn"),
}
_ROWS = dict.fromkeys("AbQCdR", 1)  # nothing varies in time
_ONE = np.ones((1, 1))


class WithSlope(torch.autograd.Function):
    """A log-likelihood that has been computed; backward is the score, pulled back to `theta`.

    The watched tensors and y are saved, so that torch refuses to go back where one of them was
    changed in place since.
    """

    @staticmethod
    def forward(ctx: Any, call: Alone | Together, y: Tensor, *thetas: Tensor) -> Tensor:
        ctx.call = call
        ctx.save_for_backward(y, *(w.tensor for w in call.kept.watched))
        return call.value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (_, *tensors), wanted = ctx.saved_tensors, ctx.needs_input_grad[2:]
        call = ctx.call
        if isinstance(call, Alone) and call.slopes is not None:
            ctx.call = call._replace(slopes=None)  # what is handed out is the caller's
        if not torch.is_grad_enabled():
            return (None, None, *_pulled(call, grads[0], tensors, wanted))
        with torch.no_grad():
            parts = _pulled(call, grads[0], tensors, wanted)
        return (None, None, *(None if p is None else Once.apply(p, *tensors) for p in parts))


def learned(kept: Kept) -> list[Tensor]:
    """Every `theta` there is, in order."""
    return [w.tensor for w in kept.watched if w.name == "theta"]


def _pulled(
    call: Alone | Together, weight: Tensor, tensors: Sequence[Tensor], wanted: Sequence[bool]
) -> list[Tensor | None]:
    """The gradient in each `theta`, None where none is wanted."""
    thetas = [(w, x) for w, x in zip(call.kept.watched, tensors, strict=True) if w.name == "theta"]
    names = {w.parameter for (w, _), needs in zip(thetas, wanted, strict=True) if needs}
    if isinstance(call, Alone):
        slopes = call.slopes or swept(call.kept, call.data)[1]
        found = [slopes[w.parameter] if w.parameter in names else None for w, _ in thetas]
        factor = weight.item()
        return found if factor == 1 else [None if x is None else x * factor for x in found]
    slope = call.score(weight, "R" in names)
    return [
        w.slot.pull(theta, slope(w.parameter)) if w.parameter in names else None
        for w, theta in thetas
    ]


class Alone(NamedTuple):
    """One series with a covariance of its own, as the loops saw it."""

    value: Tensor  # (*batch,)
    kept: Kept
    data: kernels.Data
    slopes: dict[str, Tensor] | None  # what the gradient will be, where it was made at once


def swept(kept: Kept, data: kernels.Data) -> tuple[float, dict[str, Tensor]]:
    """The log-likelihood of one series and its gradient in each `theta`, in one pass.

    NaN where an entry of y had no variance.
    """
    arrays, pulls = kept.arrays, kept.pulls()
    model, system, n, m = arrays.model, arrays.system, arrays.system.n, data.y.shape[-1]
    if m > 1 and "R" in pulls and not system.R.diagonal:
        model = model._replace(dense=True)
    score, none = score_tables(_ONE, 1, n, m, _ROWS), _no_moments(n, data.y.dtype)
    value, bad = np.empty((2, 1, 1))
    kernels.quick(
        ("smooth", 1, arrays.dtype), kernels.smooth_each,
        one(), model, data, 0, 1, value, bad, none, score, NO_SECOND,
    )  # fmt: skip
    sizes, slopes = {"n": n, "m": m}, {}
    for name, entries in pulls.items():
        place, shape = _PLACES[name]
        found = getattr(score, place)
        if name in "QR":
            found = 0.5 * found.ravel()[_unpacked(found.size)]
        slope = torch.from_numpy(entries.pull(found.reshape([sizes[k] for k in shape])))
        slopes[name] = slope if arrays.dtype is torch.float64 else slope.to(arrays.dtype)
    return (math.nan if bad[0, 0] != 0 else float(value[0, 0])), slopes


@cache
def one() -> Any:
    """A single lane."""
    return kernels.Lanes(1)


class Together(NamedTuple):
    """Series in passes that they share, as the long way makes them."""

    value: Tensor
    kept: Kept
    arrays: Arrays
    run: Run

    @property
    def resolved(self) -> bool:
        """Whether all directions of the start were; if not, the gradient is the plain path's."""
        known = self.run.known
        return known is None or not bool((known.blind != 0).any())

    def score(self, weight: Tensor, whole_r: bool) -> Callable[[str], Tensor]:
        """The gradient of sum(weight * value) in the value of each parameter."""
        s = self.arrays.system
        like = (
            self.run.y, s.A, s.b, s.Q.matrix, s.C, s.d, s.R.matrix,
            s.prior.mean, s.prior.covariance.matrix,
        )  # fmt: skip
        parts = run_score(self.run, s, weight, like, whole_r and not s.R.diagonal)
        assert parts is not None  # see `resolved`
        names = ("y", "A", "b", "Q", "C", "d", "R", "initial_mean", "initial_cov")
        return dict(zip(names, parts, strict=True)).__getitem__


@cache
def _no_moments(n: int, number: Any) -> kernels.Smooth:
    return no_moments(n, number)


@cache
def _unpacked(size: int) -> NDArray[np.intp]:
    """Where each entry of a symmetric matrix stands in its packed lower triangle, row by row."""
    n = int((2 * size) ** 0.5)
    rows = np.arange(n)
    low, high = np.maximum.outer(rows, rows), np.minimum.outer(rows, rows)
    return low * (low + 1) // 2 + high
