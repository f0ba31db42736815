"""The steady state: once the covariance recursion stands still it is not computed again."""

from __future__ import annotations

from torch import Tensor

from statespace.inference.lineargaussian.system import System
from statespace.linalg import quadratic

_EVERY = 8  # rows between two looks
_LEFT = 1e-13  # what may still be missing of the limit, relative


class Steady:
    """Watches the predicted covariance of a system that does not vary, over complete rows.

    Every 8 rows its change d is compared with the change before, rho = d / d_before. The change
    still to come is d rho / (1 - rho), and the recursion stops when that is below 1e-13 of the
    covariance. A row that is not complete starts it again.
    """

    def __init__(self, system: System, *, allowed: bool) -> None:
        self.allowed = allowed and system.n > 0 and not system.varies & set("AQCR")
        self.root = system.Q.root  # the settled root, once there is one
        self.settled = False
        self.filled = False  # whether the update of a settled row has been computed
        self._last: Tensor | None = None
        self._change = 0.0
        self._rate = 1.0

    def reached(self, kind: str) -> bool:
        """Whether the next predicted root is the one before."""
        if kind != "full":
            self.settled, self.filled, self._last = False, False, None
            self._change, self._rate = 0.0, 1.0
        return self.settled

    def fill(self) -> None:
        """The update of this row has been computed, and serves the following ones if settled."""
        self.filled = self.settled

    def see(self, t: int, root: Tensor, kind: str) -> None:
        """Looks at the predicted root of row t."""
        if not self.allowed or self.settled or t % _EVERY or kind != "full":
            return
        p = quadratic(root)
        if self._last is not None:
            scale = p.diagonal(dim1=-2, dim2=-1).sqrt()
            bound = scale[..., :, None] * scale[..., None, :]
            change = float(((p - self._last).abs() / bound.clamp_min(1e-300)).max())
            if change > 1e3 * _LEFT and self._change > change:
                self._rate = change / self._change
            self.settled = change <= _LEFT * (1 - self._rate)
            self.root, self._change = root, change
        self._last = p
