"""A network and its data as the arrays of compiled loops, where these serve."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Size, Tensor

from statespace import kernels
from statespace.gaussian import AffineConditional
from statespace.inference.lineargaussian.layout import divides
from statespace.inference.linearising.points import SigmaPoints
from statespace.inference.linearising.rules import Rule, Taylor
from statespace.inference.linearising.task import Task
from statespace.interface import Network
from statespace.kernels import CODES, Data, Model, Points
from statespace.linalg import tria
from statespace.shapes import every

__all__ = ["Posed", "pose"]

_LANES = 16
_TURNED = ((-1, -2), (-1,), (-2,), (-1,), (), (), (-2,), (-2,), ())  # axes of states, of `Model`


@dataclass(frozen=True)
class Posed:
    """One call.

    Attributes:
        net: The network, detached.
        task: What it is asked.
        model, data: See `kernels`; one set of parameters, with the bias of every series.
        codes: Of g and f, and whether a step leads into the first row.
        width: Series that go side by side.
        points: Of a sigma-point rule; states then stand in reversed order in `model`.
    """

    net: Network
    task: Task
    model: Model
    data: Data
    codes: tuple[int, int, int]
    width: int
    points: Points | None = None

    @property
    def n(self) -> int:
        """States."""
        return int(self.model.a.shape[-1])

    @property
    def m(self) -> int:
        """Observations."""
        return int(self.model.c.shape[-2])

    @property
    def series(self) -> int:
        """How many."""
        return int(self.data.y.shape[1])

    @property
    def rows(self) -> int:
        """T."""
        return int(self.data.y.shape[2])

    @property
    def number(self) -> Any:
        """The dtype of numpy."""
        return self.model.a.dtype

    @property
    def tasks(self) -> int:
        """Blocks of series."""
        return -(-self.series // self.width)

    def back(self, x: NDArray[Any]) -> Tensor:
        """(1, series, *event) -> (*batch, *event)."""
        found = torch.from_numpy(x).to(self.task.rows.y.dtype)
        return found.reshape((*self.task.batch, *x.shape[2:]))

    def turn(self, x: Tensor, *axes: int) -> Tensor:
        """States in their own order, along some axes."""
        return x if self.points is None else x.flip(axes)

    def run(self, name: str, *args: Any) -> None:
        """A loop over all blocks; `name` says which in `kernels`."""
        loop, lanes = getattr(kernels, name), kernels.Lanes(self.width)
        key = (name, self.width, self.model.a.dtype, tuple(type(x) for x in args))

        def piece(low: int, high: int) -> None:
            told = (lanes, self.model, self.data, self.codes, low, high, *args)
            kernels.quick(key, loop, *told)

        wide = 3 * self.n + self.m + (0 if self.points is None else self.points.mean.size)
        work = float(self.series * self.rows * self.n**2 * wide)
        kernels.spread(piece, self.tasks, work)


def pose(net: Network, task: Task, rule: Rule) -> Posed | None:
    """The arrays; None where activations have no name, parameters differ, or the rule is another.

    Args:
        net: What the model says it is.
        task: What it is asked.
        rule: How transitions and emissions are linearised.
    """
    y, codes = task.rows.y, (CODES.get(net.transition.name), CODES.get(net.emission.name))
    if y.device.type != "cpu" or y.dtype not in (torch.float32, torch.float64):
        return None
    moves, reads = net.dynamics, net.readout
    if None in codes or net.log_scale is not None or not (_alike(moves) and _alike(reads)):
        return None
    prior = task.belief
    sizes = (y.shape[-2], y.shape[-1], prior.mean.shape[-1], y.shape[:-2].numel())
    if 0 in sizes:
        return None
    n, m, batch = sizes[2], sizes[1], task.batch
    r = reads.noise.matrix.detach().reshape(m, m)
    dense = m > 1 and not reads.noise.diagonal and bool((r - torch.diag(r.diagonal())).any())
    cov = r[None, None] if dense and divides(r[None]) else r.new_empty(1, 0, 0, 0)
    q = tria(moves.noise.root.detach().flip(-2)).flip(-2)  # its last i entries of row i are zero
    arrays: tuple[Tensor, ...] = (
        moves.weight.reshape(1, 1, n, n),
        _over_series(moves.bias, "bias" in moves.varies, batch),
        q[None, None],
        reads.weight.reshape(1, 1, m, n),
        _over_series(reads.bias, "bias" in reads.varies, batch),
        reads.noise.root.reshape(1, 1, m, -1),
        _over_series(prior.mean, False, batch).movedim(-1, -2),
        _over_series(prior.covariance.root, True, batch),
        cov,
    )
    if any(x.dtype != y.dtype for x in arrays):
        return None
    points = None
    if isinstance(rule, SigmaPoints):
        points = _points(rule, n, r.numpy().dtype)
        arrays = tuple(x.flip(axes) for x, axes in zip(arrays, _TURNED, strict=True))
        arrays = (*arrays[:2], tria(q)[None, None].flip(-2), *arrays[3:])
    elif not isinstance(rule, Taylor):
        return None
    if points is not None and (points.cov < 0).any():
        return None
    model = Model._make((*(x.detach().contiguous().numpy() for x in arrays), dense))
    moved = int(task.absorbed > 0)
    width = _LANES if sizes[3] > 1 else 1
    return Posed(net, task, model, _data(task), (codes[0], codes[1], moved), width, points)  # type: ignore[arg-type]


def _alike(channel: AffineConditional) -> bool:
    """Whether one matrix and one noise serve all series and rows."""
    weight, noise = channel.weight, channel.noise.root
    return not channel.varies & {"weight", "noise"} and weight.dim() == noise.dim() == 2


def _over_series(x: Tensor, timed: bool, batch: Size) -> Tensor:
    """(*batch or (), [rows,] size) -> (1, series or 1, rows or 1, size)."""
    x = x if timed else x.unsqueeze(-2)
    if x.shape[:-2].numel() == 1:
        return x.reshape(1, 1, *x.shape[-2:])
    return x.expand(*batch, *x.shape[-2:]).reshape(1, -1, *x.shape[-2:])


def _data(task: Task) -> Data:
    rows, series = task.rows, task.batch.numel()
    y = rows.y.detach().reshape(1, series, *rows.y.shape[-2:]).contiguous().numpy()
    if every(rows.observed):
        return Data(y, np.zeros((1, 0, 0, 0), np.uint8))
    seen = rows.observed.expand(rows.y.shape).reshape(y.shape)
    return Data(y, seen.to(torch.uint8).contiguous().numpy())


@lru_cache(maxsize=64)
def _points(rule: SigmaPoints, n: int, number: Any) -> Points:
    """Points of states in reversed order, without the entries that are zero."""
    xi, of_mean, of_cov = rule.points(n)
    turned = xi[:, ::-1]
    some = turned != 0
    starts = np.concatenate([[0], some.sum(1).cumsum()]).astype(np.int64)
    values = (turned[some], of_mean, of_cov)
    which = np.nonzero(some)[1].astype(np.int64)
    return Points(starts, which, *(np.ascontiguousarray(x, number) for x in values))
