"""The shortest way from plain data to an answer: kept arrays and the compiled loops.

One short series takes one call of a loop, complete data the passes that all series share, and data
with gaps those of the long way, NaN standing in them as it came. Where anything is out of the
ordinary there is no answer here: the door looks at the data, and the long way gives the same
numbers or the named error.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from statespace import kernels
from statespace.inference.kalman.kept import Arrays, Kept, kept_of
from statespace.inference.kalman.problem import Problem
from statespace.inference.kalman.slope import Alone, Together, WithSlope, learned, one, swept
from statespace.inference.lineargaussian.compiled import is_long, run_forward
from statespace.inference.lineargaussian.complete import Counts, Settled
from statespace.inference.lineargaussian.layout import Layout

__all__ = ["Given", "given", "log_likelihood", "value_of"]

_FRONT = 4096  # numbers
_FEW = 300  # rows
_ALL_SEEN = np.zeros((1, 0, 0, 0), np.uint8)


class Given(NamedTuple):
    """Plain data for a model of which the arrays are kept.

    Attributes:
        y: As given, contiguous; NaN is still in it.
        values: Its memory.
        rows: T.
        plain: Whether the start has one column.
        constant: The model's `diffuse_constant`.
    """

    kept: Kept
    arrays: Arrays
    y: Tensor
    values: NDArray[Any]
    rows: int
    plain: bool
    constant: bool

    @property
    def univariate(self) -> bool:
        """Whether there is no axis of features."""
        return self.values.ndim == 1

    @property
    def batch(self) -> tuple[int, ...]:
        """The batch shape."""
        return self.values.shape[:-2]

    @property
    def short(self) -> bool:
        """Whether one pass over one series serves."""
        model, m = self.arrays.model, self.arrays.model.c.shape[-2]
        alone = self.plain and self.values.size == self.rows * m
        return alone and not is_long(self.rows, model.a.shape[-1], m, model.dense)

    def data(self) -> kernels.Data:
        """The series as the loops read them; NaN is "not observed" there too."""
        m = self.arrays.model.c.shape[-2]
        return kernels.Data(self.values.reshape(1, -1, self.rows, m), _ALL_SEEN)

    def complete(self) -> bool:
        """Whether all is finite; False too where the sum overflows."""
        return math.isfinite(self.y.sum().item())

    def seems_complete(self) -> bool:
        """Whether what stands in front is finite."""
        return math.isfinite(self.y.view(-1)[:_FRONT].sum().item())

    def problem(self, *, gaps: bool = False) -> Problem:
        """The data as the long way reads them; `gaps` where something may be missing."""
        known, y = self.arrays, self.y[:, None] if self.univariate else self.y
        seen = torch.ones((), dtype=torch.bool).expand_as(y)
        layout = Layout(known.system, y.shape[:-2]).holding(known.system, known.begin, known.model)
        return Problem(known.system, known.begin, y, seen, seen[..., 0], 0, gaps, layout)


def given(model: Any, y: Tensor) -> Given | None:
    """The data and the arrays; None where the door must look."""
    kept = kept_of(model)
    if kept is None or y.dtype is not kept.arrays.dtype:
        return None
    try:
        y = y.contiguous()
        values = y.numpy()
    except (RuntimeError, TypeError):  # has a graph, is sparse, on a device, inside a transform
        return None
    shape, m = values.shape, model.obs_dim
    if (shape[-1:] != (m,) and (m != 1 or len(shape) != 1)) or not 1 <= len(shape) <= 3:
        return None
    if values.size == 0:
        return None
    rows = shape[-2] if len(shape) > 1 else shape[0]
    plain = kept.arrays.begin.x.shape[-1] == 1
    return Given(kept, kept.arrays, y, values, rows, plain, model.diffuse_constant)


def log_likelihood(model: Any, y: Tensor) -> Tensor | None:
    """Log p(y), (*batch,), differentiable in what is learned."""
    known = given(model, y)
    if known is None:
        return None
    wanted = torch.is_grad_enabled() and known.kept.learned()
    if wanted is None:
        return None
    call = _alone(known, wanted) if known.short else _in_passes(known, wanted)
    if call is None or not wanted:
        return None if call is None else call.value
    out: Tensor = WithSlope.apply(call, known.y, *learned(known.kept))
    return out


def _alone(known: Given, wanted: bool) -> Alone | None:
    """One series, in one pass; None where entries had no variance or numbers are not finite.

    Of a few rows that pass gives the gradient too: a second one would take longer.
    """
    arrays, data, slopes = known.arrays, known.data(), None
    if wanted:
        known.kept.pulls()  # at the present numbers, whenever backward comes
    if wanted and known.rows <= _FEW:
        found, slopes = swept(known.kept, data)
        value = np.full((1, 1), found)
    else:
        value, bad = np.empty((2, 1, 1))
        none = np.empty((1, 0, 0, 0), data.y.dtype)  # no directions of the start are open
        kernels.quick(
            ("filter", 1, arrays.dtype), kernels.filter_each,
            one(), arrays.model, data, 0, 1, value, bad, none, None,
        )  # fmt: skip
        found = math.nan if bad[0, 0] != 0 else float(value[0, 0])
    if not math.isfinite(found):  # inf in y makes none that is finite
        return None
    return Alone(value_of(value, known), known.kept, data, slopes)


def value_of(value: NDArray[Any], known: Given) -> Tensor:
    """Log-likelihoods in the shape and the numbers of the data."""
    found = torch.from_numpy(value.reshape(known.batch))
    return found if known.arrays.dtype is torch.float64 else found.to(known.arrays.dtype)


def _in_passes(known: Given, wanted: bool) -> Alone | Together | None:
    """Several series, or a long one; None where the long way is to look."""
    call: Alone | Together | None = None
    if known.seems_complete():
        together = wanted or not known.plain
        call = _together(known, wanted, gaps=False) if together else _steady(known)
    if call is None and not known.complete():
        call = _together(known, wanted, gaps=True)
    return call


def _steady(known: Given) -> Alone | None:
    """The gains of complete data for all series."""
    arrays, data = known.arrays, known.data()
    counts = Counts(1, data.y.shape[1])
    settled = Settled(arrays.system, counts, arrays.model, known.rows)
    if not settled.usable:
        return None
    value = settled.value[:, None] - 0.5 * settled.squares(arrays.model, data)
    return (
        Alone(value_of(value, known), known.kept, data, None) if np.isfinite(value).all() else None
    )


def _together(known: Given, wanted: bool, *, gaps: bool) -> Together | None:
    """The passes of the long way; None where numbers overflow."""
    p = known.problem(gaps=gaps)
    with torch.no_grad():
        found = run_forward(
            p.system, p.begin, p.y, p.observed,
            diffuse_constant=known.constant, gaps=gaps, layout=p.layout,
        )  # fmt: skip
    if found is None or not bool(torch.isfinite(found[0]).all()):
        return None
    call = Together(*found[:1], known.kept, known.arrays, found[1])
    return call if call.resolved or not wanted else None
