"""Conjugate priors of parameters: what EM can add to its sums in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from statespace.errors import InputError, expected
from statespace.parameters.read import read_array

__all__ = ["InverseWishart", "Normal"]


@dataclass(frozen=True, eq=False)
class Normal:
    """Independent normal densities on the learned entries of a coefficient (A, B, b, C, D, d).

    Attributes:
        mean: A number, or an array of the shape of the parameter.
        sd: Likewise, positive.

    Example:
        >>> import torch
        >>> shrink = Normal(0.0, 0.5)
        >>> round(float(shrink.log_prob(torch.zeros(1, 1))), 4)
        -0.2258
    """

    mean: Any = 0.0
    sd: Any = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", read_array("mean", self.mean))
        object.__setattr__(self, "sd", read_array("sd", self.sd))
        if not bool((self.sd > 0).all()):
            raise InputError(
                expected("sd", "positive numbers", f"{float(self.sd.min()):.6g}", "Give sd > 0.")
            )

    def log_prob(self, value: Tensor, free: Tensor | None = None) -> Tensor:
        """Log density of the entries of `value` (*batch, *event) where `free`, summed: (*batch,).

        `free` (*event) marks each learned value once; all entries without it.
        """
        mean, sd = self.mean.to(value), self.sd.to(value)
        each = -0.5 * ((value - mean) / sd).square() - sd.log() - 0.5 * math.log(2 * math.pi)
        if free is None:
            free = torch.ones_like(value, dtype=torch.bool)
        kept = torch.where(free, each, torch.zeros_like(each))
        return kept.flatten(-free.dim()).sum(-1) if free.dim() else kept


@dataclass(frozen=True, eq=False)
class InverseWishart:
    """A density on a covariance P (Q, R or the initial one), (n, n).

    Proportional to |P|^{-(df + n + 1)/2} exp(-tr(scale P^{-1})/2); its mode is
    scale / (df + n + 1).

    Attributes:
        df: Degrees of freedom, at least 0.
        scale: Positive semidefinite, (n, n).

    Example:
        >>> prior = InverseWishart(df=3.0, scale=[[2.0]])
    """

    df: float
    scale: Any

    def __post_init__(self) -> None:
        if not (isinstance(self.df, int | float) and self.df >= 0):
            raise InputError(expected("df", "a number >= 0", repr(self.df), "Give df >= 0."))
        object.__setattr__(self, "scale", read_array("scale", self.scale))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density up to its constant, of P (*batch, n, n): (*batch,); -inf where singular."""
        n = value.shape[-1]
        lower, info = torch.linalg.cholesky_ex(value)
        safe = torch.where(
            (info == 0)[..., None, None], lower, torch.eye(n, dtype=value.dtype).to(value)
        )
        inner = torch.cholesky_solve(self.scale.to(value).expand_as(value), safe)
        log_det = 2 * safe.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        log = -0.5 * (self.df + n + 1) * log_det
        log = log - 0.5 * inner.diagonal(dim1=-2, dim2=-1).sum(-1)
        return torch.where(info == 0, log, torch.full_like(log, -torch.inf))
