"""A slot as plain arrays, for loops that write and read it thousands of times."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from statespace.parameters.covariance import CovarianceSlot
from statespace.parameters.slot import Slot

__all__ = ["Entries"]

Array = NDArray[np.float64]


class Entries:
    """What `Slot.value` and `Slot.pull` compute, in numpy, for one set of values.

    Of a covariance it is the root that is written: P = S S'.

    Attributes:
        shape: Of the value, (*event).
        learned: Whether anything is.
    """

    def __init__(self, slot: Slot) -> None:
        root = isinstance(slot, CovarianceSlot)
        pattern = slot.blocks.root if isinstance(slot, CovarianceSlot) else slot.pattern
        theta = slot.theta
        self._theta: Any = None if theta is None else theta.detach().numpy()
        self.learned = theta is not None and slot.n_free > 0
        self._at = np.flatnonzero(pattern.free.numpy())
        self._number = pattern.index.numpy()[self._at]
        self._sign = pattern.sign.numpy()[self._at].astype(np.float64)
        self._count = slot.n_free
        whole = np.arange(pattern.free.numel())
        self._whole = np.array_equal(self._number, whole) and bool((self._sign == 1).all())
        held = slot._held_root() if isinstance(slot, CovarianceSlot) else slot.held
        self._base = held.detach().numpy().copy()
        self._base.reshape(-1)[self._at] = 0.0
        self.shape, self._root = self._base.shape, root
        self._last = self._base

    @property
    def places(self) -> NDArray[np.bool_]:
        """Where the value may be other than zero, (*event)."""
        out = self._base != 0
        out.reshape(-1)[self._at] = True
        return out

    def write(self) -> Array:
        """The value, or the root of a covariance, at the present numbers."""
        if self.learned:
            self._last = self._base.copy()
            self._last.reshape(-1)[self._at] = self._theta[self._number] * self._sign
        return self._last

    def pull(self, gradient: Array) -> Array:
        """The gradient in theta at what was last written, from that in the value."""
        if self._root:  # dS = (G + G') S; entries of held blocks are not among those read
            gradient = (gradient + gradient.T) @ self._last
        if self._whole:
            return np.asarray(gradient.reshape(-1), np.float64)
        parts = gradient.reshape(-1)[self._at] * self._sign
        return np.asarray(np.bincount(self._number, parts, self._count), np.float64)
