"""Start values for cycles and ARMA processes, from the periodogram and the autocovariances.

They are recognised by the pattern of A alone, so that sums, copies and stored models need no record
of where a block came from.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from statespace.sequences import Sequences

if TYPE_CHECKING:
    from statespace.models.lds.model import LDS

__all__ = ["start_values"]

Array = NDArray[np.float64]

_RHO = 0.9  # damping at which a cycle starts


def start_values(lds: LDS, data: Sequences) -> None:
    """Sets A where all its learned entries are those of cycles and autoregressions; else nothing.

    Args:
        lds: With one output.
        data: Its first output is read, less a straight line, with zeros where it is missing.
    """
    slot = lds.slot("A")
    if slot.is_set or slot.varies or lds.obs_dim != 1:
        return
    labels = slot.pattern.labels
    held = slot.held.detach().reshape(-1, *slot.event)[0].cpu()
    cycles, rows = _cycles(labels), _autoregressions(labels, held)
    known = torch.zeros_like(labels, dtype=torch.bool)
    for i in cycles:
        known[i : i + 2, i : i + 2] = True
    for i, order in rows:
        known[i, i : i + order] = True
    if bool(((labels != 0) & ~known).any()):
        return
    series = _detrended(data)
    value = slot.held.detach().clone().expand(*lds.batch_shape, *slot.event).clone()
    for i, angle in zip(cycles, _angles(series, len(cycles)), strict=True):
        turn = [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
        value[..., i : i + 2, i : i + 2] = _RHO * torch.tensor(turn).to(value)
    for i, order in rows:
        value[..., i, i : i + order] = _yule_walker(series, order).to(value)
    slot.set_(value)


def _cycles(labels: Tensor) -> list[int]:
    """First rows of the blocks [[a, c], [-c, a]]."""
    found = []
    for i in range(labels.shape[0] - 1):
        (a, c), (e, g) = labels[i : i + 2, i : i + 2].tolist()
        if a == g != 0 and c == -e != 0 and abs(a) != abs(c):
            found.append(i)
    return found


def _autoregressions(labels: Tensor, held: Tensor) -> list[tuple[int, int]]:
    """(row, order) of each row phi_1 .. phi_p above a shift."""
    found, cycles = [], _cycles(labels)
    n = labels.shape[0]
    for i in range(n):
        if labels[i, i] == 0 or i in cycles or i - 1 in cycles:
            continue
        order = 1
        while i + order < n and labels[i, i + order] != 0 and held[i + order, i + order - 1] == 1:
            order += 1
        if len(set(labels[i, i : i + order].abs().tolist())) == order:
            found.append((i, order))
    return found


def _detrended(data: Sequences) -> Tensor:
    """(series, T) residuals of a straight line through what was observed, zero elsewhere."""
    on = data.observed[..., 0].reshape(-1, data.T).to(torch.float64)
    y = data.values[..., 0].reshape(-1, data.T).to(torch.float64) * on
    t = torch.linspace(-1, 1, data.T, dtype=torch.float64, device=y.device).expand_as(y)
    x = torch.stack([on, t * on], -1)
    line = x @ (torch.linalg.pinv(x) @ y[..., None])
    return (y - line[..., 0]) * on


def _angles(series: Tensor, count: int) -> list[float]:
    """Angles per step where the spectrum stands highest above what is around it.

    The spectrum of a trend falls by orders of magnitude, and its slope is no cycle: a frequency
    counts by the log of its power less the mean log from half to twice the frequency. A taper
    keeps the trend's power where it belongs (Percival and Walden 1993, chapter 6).
    """
    num_rows = series.shape[-1]
    if not count:
        return []
    size = 8 * num_rows
    tapered = series.cpu().numpy() * np.hanning(num_rows)
    power = np.square(np.abs(np.fft.rfft(tapered, n=size))).sum(0)
    place = np.arange(len(power))
    last = len(power) - 1
    smooth = _means(power, np.maximum(place - 8, 0), np.minimum(place + 8, last))
    log = np.log(np.maximum(smooth, np.finfo(np.float64).tiny))
    height = log - _means(log, (place + 1) // 2, np.minimum(2 * place, last))
    usable = (place >= 3 * 8) & (place <= 0.45 * size)
    height[~usable] = -np.inf
    peaks: list[tuple[float, float]] = []  # power, frequency
    for _ in range(count):
        best = int(height.argmax())
        if not math.isfinite(height[best]):
            peaks.append((0.0, 0.25))
            continue
        near = np.abs(place - best) <= 12  # the smooth one leans to where the power falls less
        top = int(np.where(near & usable, power, 0.0).argmax())
        peaks.append((float(power[top]), top / size))
        height[np.abs(place - top) < 3 * 8] = -np.inf
    return [2 * math.pi * frequency for _, frequency in sorted(peaks, reverse=True)]


def _means(x: Array, first: NDArray[np.intp], last: NDArray[np.intp]) -> Array:
    """Of x from `first` to `last`, entry by entry."""
    total = np.append(0.0, x.cumsum())
    return np.asarray((total[last + 1] - total[first]) / (last + 1 - first), np.float64)


def _yule_walker(series: Tensor, order: int) -> Tensor:
    """Phi from the biased autocovariances, which is always stationary; pooled over series."""
    num_rows = series.shape[-1]
    c = torch.stack(
        [
            (series[:, k:] * series[:, : num_rows - k]).sum() if k < num_rows else series.sum() * 0
            for k in range(order + 1)
        ]
    )
    if float(c[0]) == 0:
        return c.new_zeros(order)
    lag = (torch.arange(order)[:, None] - torch.arange(order)).abs()
    return torch.linalg.solve(c[lag] + 1e-6 * c[0] * torch.eye(order).to(c), c[1:])
