"""What a Kalman filter carries from row to row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from statespace.beliefs import Belief
from statespace.gaussian import Gaussian
from statespace.inference.lineargaussian.delta import solve
from statespace.inference.lineargaussian.moments import with_delta
from statespace.linalg import Covariance, lq

__all__ = ["KalmanBelief"]


@dataclass(frozen=True)
class KalmanBelief(Belief):
    """p(z_t | y up to t) = N(x [1; delta], S S'), delta as far as the data have resolved it.

    Attributes:
        x: (*batch, n, 1 + k), the mean and its columns; k = 0 once everything is resolved.
        s: (*batch, n, n).
        rows: (*batch, k + 1, k + 1), what is known of delta.
        uneven: The series ended at different rows, so that no one row comes next.
    """

    x: Tensor
    s: Tensor
    rows: Tensor
    uneven: bool = False

    @property
    def mean(self) -> Tensor:
        """(*batch, n)."""
        return with_delta(self.x, self.s, solve(self.rows))[0]

    @property
    def cov(self) -> Tensor:
        """(*batch, n, n); inf along directions that nothing has resolved."""
        return with_delta(self.x, self.s, solve(self.rows))[1]

    def sample(self, shape: Sequence[int], generator: Generator | None = None) -> Tensor:
        """Draws, (*shape, *batch, n)."""
        proper = self.collapsed()
        return Gaussian(proper.x[..., 0], Covariance.from_root(proper.s)).sample(shape, generator)

    def collapsed(self) -> KalmanBelief:
        """The same belief without columns, where delta is resolved; itself elsewhere."""
        known = solve(self.rows)
        if bool((known.blind != 0).any()):
            return self
        if self.x.shape[-1] == 1:
            return replace(self, rows=torch.zeros_like(self.rows))
        mean, _ = with_delta(self.x, self.s, known)
        wide = self.x[..., 1:] @ known.root
        lead = torch.broadcast_shapes(self.s.shape[:-2], wide.shape[:-2])
        both = torch.cat([v.expand(*lead, *v.shape[-2:]) for v in (self.s, wide)], -1)
        rows = torch.zeros_like(self.rows[..., :1, :1])
        return KalmanBelief(mean[..., None], lq(both), rows, self.uneven)

    def where(self, active: Tensor, old: Belief) -> KalmanBelief:
        """This one where `active` (*batch,), the old one elsewhere."""
        if not isinstance(old, KalmanBelief) or old.x.shape[-1] != self.x.shape[-1]:
            raise TypeError("a Kalman belief stands still as one of the same number of columns")
        pick = active[..., None, None]
        return KalmanBelief(
            torch.where(pick, self.x, old.x),
            torch.where(pick, self.s, old.s),
            torch.where(pick, self.rows, old.rows),
            self.uneven,
        )

    @classmethod
    def stack(cls, beliefs: Sequence[Belief]) -> Belief:
        """T of them as one Gaussian, T just left of the event."""
        means = torch.stack([b.mean for b in beliefs], -2)
        covs = torch.stack([b.cov for b in beliefs], -3)
        return Gaussian(means, Covariance(covs, covs.new_zeros(*covs.shape[:-1], 0)))
