"""Covariances of complete data, from the rows that were computed before they stood still."""

from __future__ import annotations

import torch
from torch import Tensor

from statespace.inference.lineargaussian.complete import Settled
from statespace.inference.lineargaussian.layout import Layout
from statespace.inference.lineargaussian.start import Start
from statespace.inference.lineargaussian.system import System
from statespace.linalg import quadratic

__all__ = ["Covariances"]

_LOG_2PI = 1.8378770664093453


class Covariances:
    """Those of any rows low .. high, (sets, high - low, ...), float64."""

    def __init__(self, settled: Settled, system: System, begin: Start) -> None:
        assert isinstance(settled.layout, Layout)
        self._shared, self._system, self._layout = settled.shared, system, settled.layout
        self._rows = torch.from_numpy(settled.rows)
        start = self._layout.lay(begin.s, 2, series=False).double()
        self._start = quadratic(start).expand(self._layout.sets, system.n, system.n)

    def filtered(self, low: int, high: int) -> Tensor:
        """Cov[z_t given y_1..y_t]."""
        return self._take(torch.from_numpy(self._shared.pf), low, high)

    def log_densities(self, low: int, high: int) -> Tensor:
        """-(m log 2 pi + log |F|) / 2, of what y_t adds to what was known."""
        inverse = self._take(torch.from_numpy(self._shared.inverse), low, high)
        return 0.5 * (inverse.log() - _LOG_2PI).sum(-1)

    def of_rows(self, low: int, high: int) -> tuple[Tensor, Tensor, Tensor]:
        """Filtered and predicted covariances of z, and those of y before it is seen."""
        differ = min(int(self._rows.max()) + 1, high)  # later rows repeat the last of these
        first = min(low, differ - 1)
        predicted = self._predicted(first, differ)
        c, r = self._over_time("C", first, differ), self._over_time("R", first, differ)
        of_y = c @ predicted @ c.mT + r
        if (first, differ) != (low, high):
            index = torch.arange(low, high).clamp_max(differ - 1) - first
            predicted, of_y = predicted[:, index], of_y[:, index]
        return self.filtered(low, high), predicted, of_y

    def _predicted(self, low: int, high: int) -> Tensor:
        """A_t P_{t-1} A_t' + Q_t; in row 0 the covariance of the start."""
        first = max(low, 1)
        a, q = self._over_time("A", first, high), self._over_time("Q", first, high)
        moved = a @ self.filtered(first - 1, high - 1) @ a.mT + q
        return moved if low else torch.cat([self._start[:, None], moved], 1)

    def _take(self, x: Tensor, low: int, high: int) -> Tensor:
        """Rows of x (sets, T, ...), of which those that were not computed repeat the last."""
        index = torch.arange(low, high).minimum(self._rows[:, None] - 1)
        return x.take_along_dim(index[(..., *(None,) * (x.ndim - 2))], 1)

    def _over_time(self, name: str, low: int, high: int) -> Tensor:
        """A matrix of the system, (sets or 1, rows or 1, ...)."""
        x = getattr(self._system, name)
        x = x.matrix if name in "QR" else x
        x = x[..., low:high, :, :] if name in self._system.varies else x.unsqueeze(-3)
        return self._layout.lay(x, 3, series=False).double()
