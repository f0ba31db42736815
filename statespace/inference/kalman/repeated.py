"""The log-likelihood of one series and its gradient, for learners that ask again and again.

A fit asks for both at hundreds of points, on data that stay. Between two points only `theta`
changes; everything else is laid out once. What comes back is what the long way gives; where
anything is out of the ordinary nothing comes back, and the long way is asked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from statespace import kernels
from statespace.errors import StateSpaceError
from statespace.inference.kalman.beginning import Beginning, Begun
from statespace.inference.kalman.kept import plain, same, watch
from statespace.inference.lineargaussian.compiled import SHORT
from statespace.inference.lineargaussian.scores import NO_SECOND, no_moments, no_score, score_tables
from statespace.parameters import CovarianceSlot, Slot
from statespace.parameters.entries import Entries
from statespace.sequences import Sequences

__all__ = ["Repeated", "repeated"]

Array = NDArray[np.float64]

_NAMES = ("A", "b", "C", "d", "Q", "R", "initial_mean", "initial_cov")
_ROWS = dict.fromkeys("AbQCdR", 1)  # nothing that is learned varies in time
_LOG_2PI = 1.8378770664093453
_NO_BLOCK = np.empty((0, 0))
_CONDITION = 1e8  # of what is known of delta; beyond it the long way decides what is resolved


def repeated(model: Any, data: Sequences) -> Repeated | None:
    """The short way to many points; None where there is none.

    There is one for an LDS itself in float64 on the CPU, without inputs, of one set of parameters
    that do not vary in time unless they are held; and one series, unless it is long and complete.
    """
    if not plain(model) or data.batch_shape.numel() != 1 or not data.T:
        return None
    slots = [model.slot(name) for name in _NAMES]
    if data.values.dtype != torch.float64 or not all(map(_serves, slots)):
        return None
    rows = model.slot("C").num_rows
    if rows is not None and rows < data.T:
        return None
    long = data.T > SHORT and "diffuse" not in model.kinds and bool(data.observed.all())
    try:
        return None if long else Repeated(model, slots, data)
    except (StateSpaceError, TypeError):  # the long way meets it again and names it
        return None


def _serves(slot: Slot) -> bool:
    if (
        type(slot) not in (Slot, CovarianceSlot)
        or not slot.is_set
        or slot.held.device.type != "cpu"
    ):
        return False
    if slot.held.dtype != torch.float64 or slot.batch_shape:
        return False
    return not slot.varies or (slot.name == "C" and slot.n_free == 0)


class Repeated:
    """One series under one model, laid out for the loops.

    Args:
        model: See `repeated`.
        slots: Its parameters, in the order of `_NAMES`.
        data: One series.
    """

    def __init__(self, model: Any, slots: Sequence[Slot], data: Sequences) -> None:
        self._watched = [w for s in slots for w in watch(s.name, s) if w.name == "held"]
        self._thetas = [(slot, slot.theta) for slot in slots]
        self._entries = dict(zip(_NAMES, map(Entries, slots), strict=True))
        self._places = {id(slot.theta): name for slot, name in zip(slots, _NAMES, strict=True)}
        self._start = Beginning(model.kinds)
        self._constant = model.diffuse_constant
        n, m, flat = model.latent_dim, model.obs_dim, self._start.flat
        y = data.values.detach().reshape(1, 1, data.T, m).contiguous().numpy()
        seen = data.observed.reshape(y.shape).to(torch.uint8).contiguous().numpy()
        self._data = kernels.Data(y, np.zeros((1, 0, 0, 0), np.uint8) if seen.all() else seen)
        self._lanes = kernels.Lanes(1)
        self._rows = np.empty((1, 1, len(flat) + 1, len(flat) + 1))
        self._out = np.empty((2, 1, 1))
        self._columns = np.zeros((1, 1, n, len(flat) + 1))
        self._columns[0, 0, flat, np.arange(len(flat)) + 1] = 1.0
        self._score = score_tables(np.ones((1, 1)), 1, n, m, _ROWS)
        self._none, self._no_score = no_moments(n, np.float64), no_score(1)
        root = self._entries["Q"].places
        self._noisy = np.flatnonzero(root.any(0))  # columns of the root of Q that are not all zero
        noise = model.slot("R")
        self._no_cov = np.empty((1, 0, 0, 0))
        self._dense = m > 1 and not noise.covariance().diagonal
        self._low = np.tril_indices(n), np.tril_indices(m)

    def value(self) -> float | None:
        """The log-likelihood where the model is; None: ask the long way."""
        found = self._model()
        return None if found is None else self._filtered(found[0])[0]

    def gradient(self, parameters: Sequence[Tensor]) -> tuple[float, Array] | None:
        """The log-likelihood and its gradient in some of the `theta`, side by side.

        None: ask the long way.
        """
        names = [self._places.get(id(p)) for p in parameters]
        found = self._model()
        if found is None or None in names:
            return None
        model, begun = found
        value: float | None = None
        if len(self._start.flat):
            value, turned = self._filtered(model)
            if value is None:
                return None
            model = model._replace(x=turned)
        alone = self._backward(model)
        value = alone if value is None else value
        slopes = self._slopes(model, begun) if math.isfinite(alone) else None
        if slopes is None:
            return None
        parts = [self._entries[name].pull(slopes[name]) for name in names if name is not None]
        out = np.concatenate(parts)
        return (value, out) if np.isfinite(out).all() else None

    def _model(self) -> tuple[kernels.Model, Begun] | None:
        """The arrays at the present numbers, and the start among them."""
        if not all(slot.theta is theta for slot, theta in self._thetas) or not same(self._watched):
            return None
        a, b, c, d, q, r, mean, root = (self._entries[name].write() for name in _NAMES)
        c = c.reshape(-1, *c.shape[-2:])
        begun = self._start.at(a, b, q, c, r, Begun(mean, root, _NO_BLOCK))
        if begun is None:
            return None
        x = self._columns
        x[0, 0, :, 0] = begun.mean
        b, d = b[None, None, None], d[None, None, None]
        noise = np.ascontiguousarray(q[None, None][..., self._noisy])
        start = (x, begun.root[None, None])
        model = kernels.Model(
            a[None, None], b, noise, c[None], d, r[None, None], *start, self._no_cov, self._dense
        )
        return model, begun

    def _filtered(self, model: kernels.Model) -> tuple[float | None, Array]:
        """The log-likelihood, and the start in the posterior directions of delta."""
        value, bad = self._out
        k = len(self._start.flat)
        rows = self._rows if k else self._rows[:, :0]
        rows.fill(0.0)
        told = (self._lanes, model, self._data, 0, 1, value, bad, rows, None)
        kernels.quick(("repeated", "filter"), kernels.filter_each, *told)
        total = float(value[0, 0])
        if bad[0, 0] != 0 or not math.isfinite(total):
            return None, model.x
        return (total, model.x) if not k else self._resolved(total, rows[0, 0], model.x)

    def _resolved(self, total: float, rows: Array, x: Array) -> tuple[float | None, Array]:
        """Delta integrated out: see `lineargaussian.delta`."""
        r, z, rho = rows[:-1, :-1], rows[:-1, -1], rows[-1, -1]
        size = np.sqrt(np.square(r).sum(0))
        if not size.all():
            return None, x
        unit = r / size
        try:
            inverse = np.linalg.inv(unit)
        except np.linalg.LinAlgError:
            return None, x
        if not np.abs(inverse).max() * len(z) < _CONDITION:
            return None, x
        total -= 0.5 * rho * rho + float(np.log(np.abs(r.diagonal())).sum())
        if not self._constant:
            total += 0.5 * _LOG_2PI * len(z)
        root = inverse / size[:, None]
        turned = x.copy()
        turned[..., 0] += x[..., 1:] @ (root @ z)
        turned[..., 1:] = x[..., 1:] @ root
        return total, turned

    def _backward(self, model: kernels.Model) -> float:
        """Fills the tables of the score; NaN where an innovation had no variance."""
        for table in self._score[1:]:
            table.fill(0.0)
        value, bad = self._out
        told = (self._lanes, model, self._data, 0, 1, value, bad)
        rest = (self._none, self._score, NO_SECOND)
        kernels.quick(("repeated", "smooth"), kernels.smooth_each, *told, *rest)
        return math.nan if bad[0, 0] != 0 else float(value[0, 0])

    def _slopes(self, model: kernels.Model, begun: Begun) -> dict[str, Array] | None:
        """The gradient in the value of each parameter; None: ask the long way."""
        score, a = self._score, model.a[0, 0]
        d_mean, d_cov, own = score.mean[0, 0], score.cov[0, 0], self._start.own
        out = {
            "A": score.a.reshape(a.shape),
            "b": score.b.reshape(-1),
            "C": score.c.reshape(model.c.shape[2:]),
            "d": score.d.reshape(-1),
            "Q": _unpacked(score.q, self._low[0]),
            "R": _unpacked(score.r, self._low[1]),
            "initial_mean": d_mean * own,
            "initial_cov": d_cov * np.multiply.outer(own, own),
        }
        if not self._start.moves:
            return out
        more = self._start.back(a, begun, d_mean, d_cov)
        if more is None:
            return None
        return out | {name: out[name] + x for name, x in zip("AbQ", more, strict=True)}


def _unpacked(packed: Array, low: tuple[Any, Any]) -> Array:
    """A symmetric matrix from its lower triangle, which holds twice the numbers."""
    n = int(low[0][-1]) + 1
    full = np.empty((n, n))
    full[low] = full[low[::-1]] = 0.5 * packed.reshape(-1)
    return full
