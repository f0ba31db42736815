"""Arrays of a system as kernels want them: sets of parameters, series within a set, contiguous."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from statespace.inference.lineargaussian.start import Start
from statespace.inference.lineargaussian.system import System
from statespace.kernels import Data, Model

__all__ = ["Layout", "divides"]


_PIVOT = 1e-3  # of a correlation matrix, the least share of a variance that others leave


def divides(r: Tensor) -> bool:
    """Whether pivots of R lose few digits: then its factor serves as well as that of a root."""
    cov = r.numpy()
    variance = cov.diagonal(axis1=-2, axis2=-1)
    if cov.dtype != np.float64 or not (variance > 0).all():
        return False
    sd = np.sqrt(variance)
    try:  # torch waits for threads here, for as long as a short series takes
        lower = np.linalg.cholesky(cov / sd[..., :, None] / sd[..., None, :])
    except np.linalg.LinAlgError:
        return False
    return bool((lower.diagonal(axis1=-2, axis2=-1) ** 2 >= _PIVOT).all())


class Layout:
    """The batch axes of a problem: those along which parameters differ, then the others.

    Every batch element along the first is a set of parameters, and its elements along the others
    are the series that share it.

    Attributes:
        batch: The batch shape.
        sets, series: How many sets there are, and series in each.
    """

    def __init__(self, system: System, batch: torch.Size) -> None:
        rank = len(batch)
        own = system.covariance_batch_shape()
        own = torch.Size((*(1,) * (rank - len(own)), *own))
        first = [i for i in range(rank) if own[i] > 1]
        self.batch, self._order = batch, first + [i for i in range(rank) if own[i] == 1]
        self._turned = self._order != list(range(rank))
        self._first = len(first)
        self._shape = [batch[i] for i in self._order]
        self.sets = math.prod(self._shape[: self._first])
        self.series = math.prod(self._shape[self._first :])
        self._made: tuple[System, Start, bool, Model] | None = None

    def lay(self, x: Tensor, rank: int, *, series: bool = True) -> Tensor:
        """(*batch, *event) -> (sets, series, *event) or (sets, *event), of `rank` event axes.

        An axis is 1 where nothing differs along it.
        """
        event = x.shape[x.dim() - rank :]
        missing = len(self.batch) - (x.dim() - rank)
        if missing == len(self.batch) or x.shape[: x.dim() - rank].numel() == 1:
            return x.reshape(1, 1, *event) if series else x.reshape(1, *event)
        if missing:
            x = x.reshape(*(1,) * missing, *x.shape)
        if self._turned:
            x = x.permute(*self._order, *range(len(self.batch), x.dim()))
        one, two = x.shape[: self._first], x.shape[self._first : len(self.batch)]
        full_one, full_two = self._shape[: self._first], self._shape[self._first :]
        one = torch.Size(full_one) if one.numel() > 1 else one
        two = torch.Size(full_two) if two.numel() > 1 else two
        if (*one, *two) != x.shape[: len(self.batch)]:
            x = x.expand(*one, *two, *event)
        lead = (one.numel(), two.numel()) if series else (one.numel(),)
        return x.reshape((*lead, *event))

    def back(self, x: Tensor) -> Tensor:
        """(sets, series, *event) -> (*batch, *event)."""
        x = x.reshape((*self._shape, *x.shape[2:]))
        if not self._turned:
            return x
        inverse = sorted(range(len(self.batch)), key=lambda i: self._order[i])
        return x.permute(*inverse, *range(len(self.batch), x.dim()))

    def back_sets(self, x: Tensor) -> Tensor:
        """(sets, *event) -> (*batch, *event), the axes of series being 1."""
        lead = self._shape[: self._first] + [1] * (len(self.batch) - self._first)
        x = x.reshape((*lead, *x.shape[1:]))
        inverse = sorted(range(len(self.batch)), key=lambda i: self._order[i])
        return x.permute(*inverse, *range(len(self.batch), x.dim())) if self._turned else x

    def holding(self, system: System, begin: Start, model: Model) -> Layout:
        """The same with arrays that are known already."""
        self._made = (system, begin, model.dense, model)
        return self

    @property
    def dense(self) -> bool | None:
        """Whether R is, if arrays are known."""
        return None if self._made is None else self._made[2]

    def model(self, system: System, begin: Start, dense: bool) -> Model:
        """The parameters and the start; those of the last call are kept."""
        made = self._made
        if made is not None and made[0] is system and made[1] is begin and made[2] is dense:
            return made[3]

        def timed(name: str, x: Tensor, rank: int, series: bool = False) -> Tensor:
            x = x if name in system.varies else x.unsqueeze(-rank - 1)
            return self.lay(x, rank + 1, series=series)

        arrays = (
            timed("A", system.A, 2),
            timed("b", system.b, 1, True),
            timed("Q", system.Q.root, 2),
            timed("C", system.C, 2),
            timed("d", system.d, 1, True),
            timed("R", system.R.root, 2),
            self.lay(begin.x, 2),
            self.lay(begin.s, 2),
        )
        a, b, q, c, d, r, x, s = (x.contiguous().numpy() for x in arrays)
        cov = np.empty((1, 0, 0, 0), r.dtype)
        if dense and divides(system.R.matrix):
            cov = timed("R", system.R.matrix, 2).contiguous().numpy()
        model = Model(a, b, q, c, d, r, x, s, cov, dense)
        self._made = (system, begin, dense, model)
        return model

    def data(self, y: Tensor, observed: Tensor | None) -> Data:
        """Observations; None where everything was observed. y has every series axis."""
        rank = len(self.batch)
        wide = self._shape[self._first :]
        if torch.Size(wide).numel() > 1 and y.shape[:-2].numel() == 1:
            y = y.expand(*self.batch, *y.shape[-2:])  # one set of data under many starts
        values = self.lay(y, 2)
        if observed is None:
            none = torch.zeros(1, 0, 0, 0, dtype=torch.uint8)
            return Data(values.contiguous().numpy(), none.numpy())
        seen = self.lay(observed.expand(*y.shape) if rank else observed, 2)
        return Data(values.contiguous().numpy(), seen.to(torch.uint8).contiguous().numpy())
