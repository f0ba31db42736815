"""One long, complete series in windows that go side by side.

Once gains have settled, a row acts on the mean as the same linear map whatever the data: the mean
after a window is what a start at zero gives, plus H times the start, H = F (A F)^(rows - 1) with
F = I - K C. So all windows but the first are run from zero at once, their starts follow one after
the other, and a second run from there gives the residuals. No start is taken to be forgotten.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from statespace import kernels
from statespace.kernels import Data, Model, Shared

__all__ = ["squares_by_window", "worth_windows"]

_LANES, _MANY = 16, 64  # windows, and of very many rows
_VERY, _ROWS = 1 << 17, 32  # rows that are very many; rows of a window at least

Array = NDArray[Any]


def worth_windows(rows: int, settled: int) -> bool:
    """Whether so many rows, after so many until gains settle, are worth two passes."""
    return rows - settled >= _LANES * _ROWS


class _Pass(NamedTuple):
    """Sums of squared, whitened residuals (sets, series) and the last means (sets, series, n)."""

    squares: NDArray[np.float64]
    end: Array


def squares_by_window(model: Model, y: Array, shared: Shared, rows: Array) -> NDArray[np.float64]:
    """Squared, whitened residuals of one series of each set, (sets, 1).

    Args:
        model: See `kernels.Model`; only b and d may vary in time.
        y: (sets or 1, 1, T, m), complete.
        shared: What `settle` left, in the numbers of the model.
        rows: Likewise, (sets,).
    """
    t_max, most = y.shape[2], int(rows.max())
    count = _MANY if t_max > _VERY else _LANES
    length, rest = divmod(t_max - most, count)
    first = most + rest
    head = _run(_cut(model, slice(0, first)), y[:, :, :first], shared, rows, 1)
    sets = np.arange(len(rows))
    gains, inverse, ties, pf = (x[sets, rows - 1][:, None] for x in shared[2:])
    steady, one = Shared(*shared[:2], gains, inverse, ties, pf), np.ones_like(rows)
    inner = _cut(model, slice(first, None), count)
    data = _split(y[:, :, first:], count)
    step, across = model.a[:, 0], _map(model, steady, one, length)
    starts = np.zeros((len(rows), count, *model.x.shape[2:]), y.dtype)

    def begins(window: int, before: Array) -> None:
        own = window if inner.b.shape[1] > 1 else 0
        starts[:, window] = step @ before + inner.b[:, own, 0, :, None]

    begins(0, head.end[:, 0, :, None])
    ends = _run(inner._replace(x=starts), data, steady, one, _LANES).end[..., None]
    end = ends[:, 0]
    for window in range(1, count):
        begins(window, end)
        end = ends[:, window] + across @ starts[:, window]
    whole = _run(inner._replace(x=starts), data, steady, one, _LANES).squares
    return head.squares + whole.sum(1, keepdims=True)


def _run(model: Model, y: Array, shared: Shared, rows: Array, width: int) -> _Pass:
    """The means of every series of every set, (.., series, T, m)."""
    lanes, sets, (_, series, t_max, _) = kernels.Lanes(width), len(rows), y.shape
    n, blocks = model.a.shape[-1], -(-series // width)
    squares, marks = np.empty((sets, series)), np.empty((sets * blocks, 2, n * width), y.dtype)
    data = Data(np.ascontiguousarray(y), _ALL_SEEN)

    key = ("means", width, model.a.dtype)

    def piece(low: int, high: int) -> None:
        told = (lanes, model, data, shared, rows, low, high, squares, marks, t_max)
        kernels.quick(key, kernels.means, *told)

    kernels.spread(piece, sets * blocks)
    end = marks[:, 1].reshape(sets, blocks, n, width).swapaxes(-1, -2)
    return _Pass(squares, end.reshape(sets, blocks * width, n)[:, :series])


_ALL_SEEN = np.zeros((1, 0, 0, 0), np.uint8)


def _map(model: Model, steady: Shared, one: Array, length: int) -> Array:
    """H, (sets, n, n): from the start of a window to the mean after its last row."""
    n, m, number = model.a.shape[-1], model.c.shape[-2], model.a.dtype
    quiet = model._replace(
        b=np.zeros((1, 1, 1, n), number),
        d=np.zeros((1, 1, 1, m), number),
        x=np.eye(n, dtype=number)[None, :, :, None],
    )
    row = _run(quiet, np.zeros((1, n, 1, m), number), steady, one, _LANES).end.swapaxes(-1, -2)
    return row @ np.linalg.matrix_power(model.a[:, 0] @ row, length - 1)


def _cut(model: Model, rows: slice, count: int = 1) -> Model:
    """The rows of b and d, in so many windows."""
    parts = (
        x if x.shape[2] == 1 else np.ascontiguousarray(_split(x[:, :, rows], count))
        for x in (model.b, model.d)
    )
    b, d = parts
    return model._replace(b=b, d=d)


def _split(x: Array, count: int) -> Array:
    """(sets, 1, T, k) -> (sets, windows, T / windows, k)."""
    return x.reshape(len(x), count, x.shape[2] // count, x.shape[3])
