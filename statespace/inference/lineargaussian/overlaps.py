"""One long series with gaps, in windows that go side by side where a filter forgets its start.

Every window but the first is begun some rows early, from the model's own start: by its first row
the belief is that of the whole past, to rounding, if what came before has been forgotten. Whether
it has is seen where the window before ends: the two beliefs about one row must agree in every
entry, or there is no answer here and the rows go one after the other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from statespace import kernels
from statespace.kernels import Data, Ends, Model

__all__ = ["value_by_overlap"]

_LANES, _MANY = 16, 64  # windows, and of very many rows
_VERY, _ROWS = 1 << 17, 128  # rows that are very many; rows of a window, and before it, at least
_EARLY = 2  # so many times fewer rows than those of a long window go before it
_AGREE = 500  # roundings that two beliefs may lie apart, in standard deviations

Array = NDArray[Any]


def value_by_overlap(model: Model, data: Data) -> float | None:
    """The log-likelihood of one series; None where beliefs do not agree, or the series is short.

    Args:
        model: See `kernels.Model`: one set, of which only b and d may vary in time; a start with
            one column.
        data: One series; NaN in y is not observed either.
    """
    t_max = data.y.shape[2]
    count = _MANY if t_max > _VERY else _LANES
    length = t_max // count
    if length < _ROWS:
        return None
    y = data.y[0, 0]
    if data.seen.size:
        y = np.where(data.seen[0, 0] != 0, y, np.nan)
    first = np.arange(count) * length
    early = max(length // _EARLY, _ROWS)
    _, begins = _run(model, y, first[1:] - early, np.full(count - 1, early), model.x, model.s)
    x = np.concatenate([model.x, begins.end[:, 0, :, :, None]], 1)
    s = np.concatenate([model.s, begins.roots[:, 0]], 1)
    rows = np.append(np.diff(first), t_max - first[-1])
    value, ends = _run(model, y, first, rows, x, s)
    if not np.isfinite(value):
        return None
    agree = _agree((ends.end[0, 0, :-1], ends.roots[0, 0, :-1]), (x[0, 1:, :, 0], s[0, 1:]))
    return value if agree else None


def _run(
    model: Model, y: Array, first: Array, rows: Array, x: Array, s: Array
) -> tuple[float, Ends]:
    """Windows of some rows from given starts, and the belief about the row after each.

    The sum of their log-likelihoods is NaN where an entry had no variance.
    """
    count, n, t_max, number = len(first), model.a.shape[-1], len(y), model.a.dtype
    row = np.arange(rows.max() + 1)
    at = np.minimum(first[:, None] + row, t_max - 1)
    own = np.where((row < rows[:, None])[..., None], y[at], number.type(np.nan))
    none, ends = np.empty((1, count, 0, n), number), np.empty((1, 2, count, n), number)
    out = Ends(
        none, none, np.empty((1, count, 0), number), ends,
        np.zeros((1, 2, count, n, n), number), np.empty((1, count), number), rows[None].copy(),
    )  # fmt: skip
    data = Data(own[None], np.zeros((1, 0, 0, 0), np.uint8))
    parts = (
        v if v.shape[2] == 1 else np.ascontiguousarray(v[:, 0, at]) for v in (model.b, model.d)
    )
    b, d = parts
    told, lanes = model._replace(b=b, d=d, x=x, s=s), kernels.Lanes(_LANES)
    value, bad = np.empty((2, 1, count))
    key = ("filter_means", _LANES, number)

    def piece(low: int, high: int) -> None:
        kernels.quick(key, kernels.filter_means, lanes, told, data, low, high, value, bad, out)

    kernels.spread(piece, -(-count // _LANES))
    return (np.nan if bad.any() else float(value.sum())), out


def _agree(one: tuple[Array, Array], two: tuple[Array, Array]) -> bool:
    """Whether means (*, n) and roots of covariances (*, n, n) are the same to rounding."""
    (x, root), (x2, root2) = one, two
    unit = np.finfo(x.dtype).eps
    p, p2 = root @ root.swapaxes(-1, -2), root2 @ root2.swapaxes(-1, -2)
    sd = np.sqrt(p.diagonal(axis1=-2, axis2=-1))
    near = np.abs(p - p2) <= _AGREE * unit * sd[..., :, None] * sd[..., None, :]
    return bool(near.all() and (np.abs(x - x2) <= _AGREE * unit * sd + 4 * unit * np.abs(x)).all())
