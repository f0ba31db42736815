"""Heads of numbers: a location and a scale, in the units of the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import (
    Categorical,
    Distribution,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    StudentT,
)
from torch.nn.functional import softplus

from statespace.densities import MultivariateStudentT
from statespace.nn.head import Head, each, inverse_softplus
from statespace.nn.line import Line
from statespace.nn.readers import Numbers

__all__ = [
    "GaussianHead",
    "MixtureHead",
    "MultivariateHead",
    "MultivariateStudentHead",
    "StudentHead",
]


class Located(Head):
    """With a location and a scale, in units of the training data, and a floor under the scale.

    With skip, the location is that of a line and what the network adds, counted in what the line
    leaves.
    """

    def __init__(
        self,
        features: int,
        obs_dim: int,
        outputs: int,
        min_scale: float,
        more: tuple[Sequence[int], str, bool, torch.dtype],
    ) -> None:
        super().__init__(features, outputs, *more)
        self.min_scale = min_scale
        self.units = Numbers(obs_dim, more[-1])
        self.line = Line(features, obs_dim, more[-1]) if more[2] else None

    def _placed(self, x: Tensor, loc: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Location and scale in the units of the data, from numbers around zero."""
        one = inverse_softplus(1 - self.min_scale)  # raw = 0 is a scale of one
        scale = softplus(raw + one)
        if self.line is not None:
            base, size = self.line(x), self.line.size(x, self.line.residual)
            if base.dim() < loc.dim():  # components
                base, size = base.unsqueeze(-2), size.unsqueeze(-2)
            loc, scale = base + size * loc, size * scale
        scale = self.min_scale + scale
        return self.units.shift + self.units.scale * loc, self.units.scale * scale

    def learn(self, values: Tensor, seen: Tensor) -> None:
        """Takes the units."""
        self.units.learn(values, seen)

    def regress(self, x: Tensor, values: Tensor, rows: Tensor) -> None:
        """Takes the line."""
        self._line_through(x, values, rows)

    def _line_through(self, x: Tensor, values: Tensor, rows: Tensor) -> Tensor | None:
        return None if self.line is None else self.line.learn(x, self.units(values), rows)


class GaussianHead(Located):
    """N(loc(x), diag scale(x)^2)."""

    def __init__(self, features: int, obs_dim: int, min_scale: float, more: Any) -> None:
        super().__init__(features, obs_dim, 2 * obs_dim, min_scale, more)

    def forward(self, x: Tensor) -> Distribution:
        """p(y | x)."""
        return each(Normal(*self._placed(x, *self.net(x).chunk(2, -1)), validate_args=False))


class StudentHead(Located):
    """Each entry a Student's t; degrees of freedom above 2, one for each column."""

    def __init__(self, features: int, obs_dim: int, min_scale: float, more: Any) -> None:
        super().__init__(features, obs_dim, 2 * obs_dim, min_scale, more)
        start = torch.full((obs_dim,), inverse_softplus(3.0), dtype=more[-1])
        self.raw_df = nn.Parameter(start)

    @property
    def df(self) -> Tensor:
        """Degrees of freedom, (m,)."""
        return 2 + softplus(self.raw_df)

    def forward(self, x: Tensor) -> Distribution:
        """p(y | x)."""
        loc, scale = self._placed(x, *self.net(x).chunk(2, -1))
        return each(StudentT(self.df, loc, scale, validate_args=False))


class MultivariateHead(Located):
    """N(loc(x), U L diag(scale(x)^2) L^T U): entries that hang together, always in one way.

    L is lower triangular with ones on its diagonal, learned, and the same for every x; U holds the
    units. What differs with x is the location, and a scale for each of the independent numbers
    behind y. L begins at that of the differences from row to row of the training data, since the
    innovations of a smooth series look like those and not like the series; together they have the
    spread of y.
    """

    size: Tensor
    wide: Tensor

    def __init__(self, features: int, obs_dim: int, min_scale: float, more: Any) -> None:
        super().__init__(features, obs_dim, 2 * obs_dim, min_scale, more)
        below = obs_dim * (obs_dim - 1) // 2
        self.lower: Tensor = nn.Parameter(torch.zeros(below, dtype=more[-1]))
        self.register_buffer("size", torch.ones(obs_dim, dtype=more[-1]))
        self.register_buffer("wide", torch.ones((), dtype=more[-1]))

    @property
    def triangle(self) -> Tensor:
        """L, (m, m)."""
        at = torch.tril_indices(len(self.size), len(self.size), -1, device=self.lower.device)
        eye = torch.eye(len(self.size), dtype=self.lower.dtype, device=self.lower.device)
        return eye.index_put((at[0], at[1]), self.lower)

    def forward(self, x: Tensor) -> Distribution:
        """p(y | x)."""
        loc, raw = self.net(x).chunk(2, -1)
        one = inverse_softplus(1 - self.min_scale)
        size, lower = self.size * self.wide, self.triangle
        if self.line is not None:
            size = self.line.size(x, size)
            on = x[..., -1, None, None].to(lower.dtype)
            lower = on * lower + (1 - on) * torch.eye(len(lower)).to(lower)
            with torch.autocast(x.device.type, enabled=False):
                loc = self.line(x) + (lower @ (size * loc)[..., None])[..., 0]
        scale = size * (self.min_scale + softplus(raw + one))
        loc = self.units.shift + self.units.scale * loc
        root = lower * scale[..., None, :] * self.units.scale[:, None]
        return self._density(loc, root)

    def _density(self, loc: Tensor, root: Tensor) -> Distribution:
        return MultivariateNormal(loc, scale_tril=root, validate_args=False)

    @torch.no_grad()
    def learn(self, values: Tensor, seen: Tensor) -> None:
        """Takes the units, and what hangs together."""
        super().learn(values, seen)
        whole = seen.all(-1)
        y = ((values.double() - self.units.shift) / self.units.scale).movedim(-2, 0)
        both = (whole[..., 1:] & whole[..., :-1]).movedim(-1, 0)
        moved = self._hang_together((y[1:] - y[:-1])[both])
        self.wide.copy_(moved.rsqrt().clamp_min(1))

    @torch.no_grad()
    def regress(self, x: Tensor, values: Tensor, rows: Tensor) -> None:
        """Takes the line, and how what it leaves hangs together."""
        left = self._line_through(x, values, rows)
        if left is not None:
            self._hang_together(left)
            self.wide.fill_(1)

    def _hang_together(self, x: Tensor) -> Tensor:
        """Takes L and the sizes from deviations (rows, m); their mean square in a column."""
        if len(x) <= len(self.size):
            return torch.ones(())
        cov = x.T @ x / len(x)
        least = torch.finfo(self.lower.dtype).eps
        moved = cov.diagonal().mean().clamp_min(least)
        root = torch.linalg.cholesky(cov + (1e-6 * moved + least) * torch.eye(len(cov)).to(cov))
        self.size.copy_(root.diagonal())
        at = torch.tril_indices(len(cov), len(cov), -1)
        self.lower.copy_((root / root.diagonal())[at[0], at[1]])
        return moved


class MultivariateStudentHead(MultivariateHead):
    """The same with the tails of Student's t: now and then a whole row is wider than expected.

    Degrees of freedom above 2, learned, one number.
    """

    def __init__(self, features: int, obs_dim: int, min_scale: float, more: Any) -> None:
        super().__init__(features, obs_dim, min_scale, more)
        self.raw_df = nn.Parameter(torch.full((), inverse_softplus(8.0), dtype=more[-1]))

    @property
    def df(self) -> Tensor:
        """Degrees of freedom, ()."""
        return 2 + softplus(self.raw_df)

    def _density(self, loc: Tensor, root: Tensor) -> Distribution:
        df = self.df
        return MultivariateStudentT(df, loc, root * ((df - 2) / df).sqrt())


class MixtureHead(Located):
    """Sum over c of pi_c(x) N(loc_c(x), diag scale_c(x)^2); the components begin side by side."""

    def __init__(
        self, features: int, obs_dim: int, components: int, min_scale: float, more: Any
    ) -> None:
        super().__init__(features, obs_dim, components * (1 + 2 * obs_dim), min_scale, more)
        self.sizes = (components, obs_dim)
        quantiles = (torch.arange(components) + 0.5) / components
        loc = torch.special.ndtri(quantiles.double()).repeat_interleave(obs_dim)
        with torch.no_grad():
            self._bias[components : components * (1 + obs_dim)] = loc.to(self._bias)

    def forward(self, x: Tensor) -> Distribution:
        """p(y | x)."""
        c, m = self.sizes
        logits, loc, raw = self.net(x).split([c, c * m, c * m], -1)
        placed = self._placed(x, loc.unflatten(-1, (c, m)), raw.unflatten(-1, (c, m)))
        return MixtureSameFamily(
            Categorical(logits=logits, validate_args=False),
            each(Normal(*placed, validate_args=False)),
            validate_args=False,
        )
