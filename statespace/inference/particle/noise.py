"""Random numbers of many rows at once, in the order in which the plain loop draws them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator

from statespace import kernels

__all__ = ["WIDTH", "Noise"]

WIDTH = 8  # particles side by side
_BLOCK = 16  # normal numbers that torch makes at once; fewer it makes one by one
_WORK = 32  # products for a number, about


class Noise:
    """The stream of a generator; memory is taken once, since a page that is new costs time.

    Args:
        num, series: Of particles.
        generator: Random numbers.
    """

    def __init__(self, num: int, series: int, generator: Generator) -> None:
        self._num, self._series, self._generator = num, series, generator
        self._lanes = kernels.Lanes(WIDTH)
        self._taken: dict[tuple[str, tuple[int, ...]], NDArray[Any]] = {}

    def rows(self, count: int, head: int, columns: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """What `filter_particles` asks for, until the next call.

        Args:
            count: Rows.
            head: Uniform numbers of a row.
            columns: Normal numbers of a particle.
        """
        size = self._num * self._series * columns
        pad = _BLOCK if size > _BLOCK and size % _BLOCK else 0
        draws = self._memory("draws", count, head + size + pad)
        out = torch.from_numpy(draws)
        if size < _BLOCK:
            for row in out:
                row[:head].uniform_(generator=self._generator)
                row[head:].normal_(generator=self._generator)
        else:
            out.uniform_(generator=self._generator)
            self._spread("make_normal", count, size, draws, head, size)
        return draws, self._turned(draws, head, columns)

    def _turned(self, draws: NDArray[Any], head: int, columns: int) -> NDArray[Any]:
        """Normal numbers in blocks of particles, series by series."""
        count, blocks = len(draws), -(-self._num // WIDTH)
        if self._series * columns == 1 and draws.shape[1] == blocks * WIDTH:
            return draws[:, None]
        out = self._memory("turned", count, self._series, blocks * columns * WIDTH)
        sizes = (self._num, self._series, columns)
        self._spread("turn_normal", count, out[0].size, draws, head, *sizes, out)
        return out

    def _spread(self, name: str, rows: int, work: int, draws: Any, *rest: Any) -> None:
        """Runs a loop over rows."""
        loop = getattr(kernels, name)

        def piece(low: int, high: int) -> None:
            kernels.quick(name, loop, self._lanes, draws, low, high, *rest)

        kernels.spread(piece, rows, rows * work * _WORK)

    def _memory(self, name: str, *shape: int) -> NDArray[Any]:
        if (name, shape) not in self._taken:
            self._taken[name, shape] = np.empty(shape)
        return self._taken[name, shape]
