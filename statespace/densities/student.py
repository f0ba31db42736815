"""Student's t for entries that hang together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Chi2, Distribution, constraints

from statespace.densities.missing import complete, masked_root, observed_log_prob
from statespace.densities.root import GaussianRoot, solve_lower
from statespace.densities.summaries import moments
from statespace.linalg import tria

__all__ = ["MultivariateStudentT"]


class MultivariateStudentT(Distribution):
    """loc + S x / sqrt(g / df), x ~ N(0, I), g ~ chi2(df): now and then a row is wide as a whole.

    Args:
        df: Degrees of freedom, (*batch,).
        loc: (*batch, m).
        scale_tril: S, lower triangular, (*batch, m, m).

    Example:
        >>> d = MultivariateStudentT(torch.tensor(5.0), torch.zeros(2), torch.eye(2))
        >>> round(d.log_prob(torch.zeros(2)).item(), 4)
        -1.8379

    Source: Kotz and Nadarajah (2004), "Multivariate t distributions and their applications",
    equation 1.1, and section 1.10 for the marginals.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, df: Tensor, loc: Tensor, scale_tril: Tensor) -> None:
        batch = torch.broadcast_shapes(df.shape, loc.shape[:-1], scale_tril.shape[:-2])
        self.df = df.expand(batch)
        self.loc = loc.expand(*batch, -1)
        self.scale_tril = scale_tril.expand(*batch, -1, -1)
        super().__init__(batch, loc.shape[-1:], validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> MultivariateStudentT:
        """The same law over more batch axes."""
        batch = torch.Size(batch_shape)
        loc, tril = self.loc.expand(*batch, -1), self.scale_tril.expand(*batch, -1, -1)
        return MultivariateStudentT(self.df.expand(batch), loc, tril)

    @property
    def mean(self) -> Tensor:
        """(*batch, m); NaN up to one degree of freedom."""
        return self.loc.masked_fill((self.df <= 1)[..., None], math.nan)

    @property
    def covariance_matrix(self) -> Tensor:
        """(*batch, m, m); infinite up to two degrees of freedom."""
        factor = torch.where(self.df > 2, self.df / (self.df - 2), math.inf)
        return factor[..., None, None] * (self.scale_tril @ self.scale_tril.mT)

    @property
    def variance(self) -> Tensor:
        """(*batch, m)."""
        return self.covariance_matrix.diagonal(dim1=-2, dim2=-1)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """Draws with a gradient in all arguments."""
        shape = self._extended_shape(torch.Size(sample_shape))
        x = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        g = Chi2(self.df, validate_args=False).rsample(torch.Size(sample_shape)) / self.df
        return self.loc + (self.scale_tril @ x[..., None])[..., 0] * g.rsqrt()[..., None]

    def log_prob(self, value: Tensor) -> Tensor:
        """(*,)."""
        gap = solve_lower(self.scale_tril, value - self.loc)
        log_det = self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return _log_density(self.df, gap.square().sum(-1), log_det, value.shape[-1])


def _log_density(df: Tensor, square: Tensor, log_det: Tensor, count: Any) -> Tensor:
    """From the squared distance, the log determinant of S, and how many entries there are."""
    half = 0.5 * (df + count)
    front = half.lgamma() - (0.5 * df).lgamma() - 0.5 * count * (df * math.pi).log()
    return front - log_det - half * (square / df).log1p()


def _distance(d: MultivariateStudentT, y: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distance of the observed entries, and the log determinant of their scale."""
    lower = tria(masked_root(d.scale_tril, observed.to(d.loc.dtype)))
    gap = solve_lower(lower, torch.where(observed, y - d.loc, torch.zeros_like(d.loc)))
    return gap.square().sum(-1), lower.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)


@observed_log_prob.register
def _(d: MultivariateStudentT, y: Tensor, observed: Tensor) -> Tensor:
    if bool(observed.all()):
        return d.log_prob(y)
    found = _log_density(d.df, *_distance(d, y, observed), observed.sum(-1))
    return torch.where(observed.any(-1), found, torch.zeros_like(found))


@complete.register
def _(d: MultivariateStudentT, y: Tensor, observed: Tensor) -> Tensor:
    # given how wide the row is, which the observed entries tell something about, it is a Gaussian
    with torch.no_grad():
        square, _ = _distance(d, y, observed)
        g = Chi2(d.df + observed.sum(-1), validate_args=False).sample() / (d.df + square)
        return complete(GaussianRoot(d.loc, d.scale_tril * g.rsqrt()[..., None, None]), y, observed)


@moments.register
def _(d: MultivariateStudentT) -> tuple[Tensor, Tensor]:
    return d.mean, d.covariance_matrix
