"""What the core computes with: arrays, roots, and which of them vary in time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from statespace.gaussian import Gaussian
from statespace.linalg import Covariance
from statespace.shapes import together


class Step(NamedTuple):
    """One row of a `System`: everything but the start, without a time axis."""

    A: Tensor
    b: Tensor
    q: Tensor  # a root of Q
    C: Tensor
    d: Tensor
    r: Tensor  # a root of R


@dataclass(frozen=True)
class System:
    """A linear-Gaussian model as arrays; row t of A, b, Q acts on the transition into z_t.

    Attributes:
        A, b, Q: transition, (*batch, [T,] n, n), (*batch, [T,] n), covariance of n.
        C, d, R: emission, (*batch, [T,] m, n), (*batch, [T,] m), covariance of m.
        prior: p(z_1), (*batch, n), with its diffuse entries.
        varies: which of "A", "b", "Q", "C", "d", "R" have the T axis.
    """

    A: Tensor
    b: Tensor
    Q: Covariance
    C: Tensor
    d: Tensor
    R: Covariance
    prior: Gaussian
    varies: frozenset[str] = frozenset()

    @property
    def n(self) -> int:
        return self.A.shape[-1]

    @property
    def m(self) -> int:
        return self.C.shape[-2]

    def batch_shape(self) -> torch.Size:
        """The common batch shape of all parameters."""
        lead = [
            x.shape[: x.dim() - rank - (name in self.varies)] for name, x, rank in self._leaves()
        ]
        lead += [self.prior.mean.shape[:-1], self.prior.covariance.root.shape[:-2]]
        return together(*lead)

    def covariance_batch_shape(self) -> torch.Size:
        """The batch shape of what the covariance recursion reads: all but b, d and the mean."""
        lead = [
            x.shape[: x.dim() - rank - (name in self.varies)]
            for name, x, rank in self._leaves()
            if name not in "bd"
        ]
        return together(*lead, self.prior.covariance.root.shape[:-2])

    def _leaves(self) -> list[tuple[str, Tensor, int]]:
        return [
            ("A", self.A, 2),
            ("b", self.b, 1),
            ("Q", self.Q.root, 2),
            ("C", self.C, 2),
            ("d", self.d, 1),
            ("R", self.R.root, 2),
        ]

    def steps(self) -> Callable[[int], Step]:
        """Row t as a `Step`; unbinds what varies once, so that asking is cheap."""
        parts = []
        for name, x, rank in self._leaves():
            parts.append((x.unbind(-rank - 1) if name in self.varies else None, x))
        return lambda t: Step(*(rows[t] if rows is not None else x for rows, x in parts))

    def over_time(self, name: str, batch_rank: int) -> Tensor:
        """One array with the time axis first: (T or 1, *batch, ...), of `batch_rank` batch axes."""
        x, rank = getattr(self, name), 1 if name in "bd" else 2
        x = x.root if isinstance(x, Covariance) else x
        return time_first(x if name in self.varies else x.unsqueeze(-rank - 1), rank, batch_rank)

    def detach(self) -> System:
        """The same numbers without a graph."""

        def cut(c: Covariance) -> Covariance:
            return c.map(torch.Tensor.detach)

        prior = Gaussian(self.prior.mean.detach(), cut(self.prior.covariance), self.prior.diffuse)
        return replace(
            self,
            A=self.A.detach(),
            b=self.b.detach(),
            Q=cut(self.Q),
            C=self.C.detach(),
            d=self.d.detach(),
            R=cut(self.R),
            prior=prior,
        )


def time_first(x: Tensor, event_rank: int, batch_rank: int) -> Tensor:
    """(*batch, T, *event) -> (T, *batch, *event), the batch padded to `batch_rank` axes."""
    x = x.movedim(-event_rank - 1, 0)
    missing = batch_rank - (x.dim() - 1 - event_rank)
    return x.reshape(x.shape[0], *(1,) * missing, *x.shape[1:]) if missing > 0 else x
