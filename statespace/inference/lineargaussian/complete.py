"""The compiled path where nothing is missing: covariances once for all series, means in lanes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from statespace import kernels
from statespace.inference.lineargaussian.layout import Layout
from statespace.inference.lineargaussian.system import System
from statespace.inference.lineargaussian.windows import squares_by_window, worth_windows
from statespace.kernels import Data, Ends, Model, Score, Second, Shared, Smooth

__all__ = ["Counts", "Settled", "lanes_of"]

_LANES = 16
_ALL, _SOME, _FEW = 1 << 17, 1 << 14, 8  # numbers that are held: all rows, or some; rows at least
_TOLERANCE = 1e-13  # what may be missing of a settled variance, relative


def _cast(model: Model, number: Any) -> Model:
    arrays: Any = (np.ascontiguousarray(x, number) for x in model[:-1])
    return Model._make((*arrays, model.dense))


class Counts(NamedTuple):
    """How many sets of parameters there are, and series in each."""

    sets: int
    series: int


class Settled:
    """Gains and covariances of complete data, in float64 whatever the model's numbers are.

    Attributes:
        value: (sets,) log-likelihood of a series less its squares.
        usable: Whether every innovation had a variance, and all numbers are finite.
    """

    def __init__(self, system: System, layout: Layout | Counts, model: Model, t_max: int) -> None:
        n, m, sets = system.n, system.m, layout.sets
        self.model, self.layout, self.t_max, self.m = _cast(model, np.float64), layout, t_max, m
        moving = bool(system.varies & set("AQCR"))
        self.tolerance = -1.0 if moving else _TOLERANCE
        own = t_max if system.varies & set("CR") else 1
        self.shared = Shared(
            np.empty((sets, own, m, n)),
            np.empty((sets, own, m, m)) if model.dense else np.empty((1, 0, m, m)),
            np.empty((sets, t_max, m, n)),
            np.empty((sets, t_max, m)),
            np.empty((sets, t_max, m, 3)),
            np.empty((sets, t_max, n, n)),
        )
        self.rows, self.value = np.zeros(sets, np.int64), np.empty(sets)
        bad = np.empty(sets)
        self._one = kernels.Lanes(1)
        kernels.quick(
            "settle", kernels.settle, self._one, self.model, t_max, m, self.tolerance, self.shared,
            self.rows, self.value, bad,
        )  # fmt: skip
        self._kept: NDArray[Any] | None = None
        self.usable = not bad.any() and bool(np.isfinite(self.value).all())

    def _numbers(self, model: Model) -> Shared:
        number = model.a.dtype
        if number == np.float64:
            return self.shared
        most = int(self.rows.max())
        c, turn, *rest = self.shared
        cut = (np.ascontiguousarray(x[:, :most], number) for x in rest)
        return Shared(np.asarray(c, number), np.asarray(turn, number), *cut)

    def squares(self, model: Model, data: Data) -> NDArray[np.float64]:
        """(sets, series) sums of squared, whitened residuals.

        Keeps what `back` begins with, but for one long series.
        """
        lanes, tasks = lanes_of(self.layout)
        out, shared = np.empty((self.layout.sets, self.layout.series)), self._numbers(model)
        steady = self.tolerance > 0 and self.layout.series == 1
        if steady and worth_windows(self.t_max, int(self.rows.max())):
            return squares_by_window(model, data.y, shared, self.rows)
        held, marks = self._held(lanes), self._marks(model, lanes, tasks)

        key = ("means", lanes.width, model.a.dtype)

        def piece(low: int, high: int) -> None:
            told = (lanes, model, data, shared, self.rows, low, high, out, marks, held)
            kernels.quick(key, kernels.means, *told)

        kernels.spread(piece, tasks, self._work)
        self._kept = marks
        return out

    def ahead(self, model: Model, data: Data, ends: Ends) -> NDArray[np.float64]:
        """Fills filtered means, and of increments what hangs on the data; gives `squares`."""
        lanes, tasks = lanes_of(self.layout)
        out, shared = np.empty((self.layout.sets, self.layout.series)), self._numbers(model)

        def piece(low: int, high: int) -> None:
            kernels.filter_shared(lanes, model, data, shared, self.rows, low, high, out, ends)

        key = ("ahead", lanes.width, model.a.dtype)
        kernels.announced(key, lambda: kernels.spread(piece, tasks, self._work))
        return out

    def back(
        self, model: Model, data: Data, smooth: Smooth, score: Score, second: Second
    ) -> NDArray[np.float64]:
        """Fills the smoothed means, and of the sums what hangs on the data; gives `squares`.

        After `squares` it gives nothing, and goes back from what that kept of the same data.
        """
        lanes, tasks = lanes_of(self.layout)
        out, shared = np.empty((self.layout.sets, self.layout.series)), self._numbers(model)
        held, ahead = self._held(lanes), self._kept is None
        marks = self._marks(model, lanes, tasks) if self._kept is None else self._kept

        key = ("means_back", lanes.width, model.a.dtype)

        def piece(low: int, high: int) -> None:
            kernels.quick(
                key, kernels.means_back, lanes, model, data, shared, self.rows, low, high, out,
                marks, held, ahead, smooth, score, second,
            )  # fmt: skip

        kernels.spread(piece, tasks, self._work)
        return out

    @property
    def _work(self) -> float:
        """Products of a pass over the means, about."""
        n, counts = self.model.a.shape[-1], self.layout
        return float(counts.sets * counts.series * self.t_max * (n + self.m) * (n + 1))

    def _held(self, lanes: Any) -> int:
        """How many rows are held at once: all, where they fit into a cache."""
        row = (self.m + 2 * self.model.a.shape[-1]) * lanes.width
        return self.t_max if self.t_max * row <= _ALL else max(_FEW, _SOME // row)

    def _marks(self, model: Model, lanes: Any, tasks: int) -> NDArray[Any]:
        segments = -(-self.t_max // self._held(lanes))
        return np.empty((tasks, segments + 1, model.a.shape[-1] * lanes.width), model.a.dtype)

    def spread_back(self, smooth: Smooth, score: Score, second: Second) -> None:
        """Fills the smoothed covariances (of one series), and the rest of the score."""
        kernels.quick(
            "settle_back", kernels.settle_back, self._one, self.model, self.t_max, self.m,
            self.tolerance, self.shared, self.rows, smooth, score, second,
        )  # fmt: skip


def lanes_of(layout: Layout | Counts) -> tuple[Any, int]:
    """How many series go side by side, and how many such blocks there are over all sets."""
    width = _LANES if layout.series > 1 else 1
    return kernels.Lanes(width), layout.sets * -(-layout.series // width)
