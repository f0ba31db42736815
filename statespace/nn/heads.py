"""Emission heads: Modules that make a density of y from features, one for each family."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    StudentT,
)
from torch.nn.functional import softplus

from statespace.densities import LogRatePoisson, MultivariateStudentT
from statespace.errors import InputError, InputTypeError, expected
from statespace.nn.layers import last_bias, mlp
from statespace.nn.line import Line
from statespace.nn.readers import Numbers
from statespace.sequences import read_count

__all__ = ["FAMILIES", "Head", "emission_head", "inverse_softplus"]


def inverse_softplus(x: float) -> float:
    """What softplus makes x of."""
    return x + math.log(-math.expm1(-x))


def _each(d: Distribution) -> Distribution:
    """The entries of y side by side, independent."""
    return Independent(d, 1, validate_args=False)


class Head(nn.Module, ABC):
    """Features (*, f) to a density of y, event (m,), in the units of the data.

    Args:
        features: f.
        outputs: How many numbers the density takes.
        hidden: Widths of the layers between.
        activation: Between them.
        dtype: Of the weights.
    """

    def __init__(
        self,
        features: int,
        outputs: int,
        hidden: Sequence[int],
        activation: str,
        skip: bool,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.net = mlp(features, outputs, hidden, activation=activation, skip=skip, dtype=dtype)
        with torch.no_grad():
            self._bias.zero_()

    @property
    def _bias(self) -> Tensor:
        return last_bias(self.net)

    @abstractmethod
    def forward(self, x: Tensor) -> Distribution:
        """p(y | x), batched over (*,)."""

    @abstractmethod
    def learn(self, values: Tensor, seen: Tensor) -> None:
        """Begins at the level of some data: y (*, m), and what of it was observed."""

    def regress(self, x: Tensor, values: Tensor, rows: Tensor) -> None:
        """Begins at the line through features (*, f) and y (*, m) of some rows, if it can."""


class _Located(Head):
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
            base = self.line(x)
            base = base if base.dim() == loc.dim() else base.unsqueeze(-2)
            loc, scale = base + self.line.residual * loc, self.line.residual * scale
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


class GaussianHead(_Located):
    """N(loc(x), diag scale(x)^2)."""

    def __init__(self, features: int, obs_dim: int, min_scale: float, more: Any) -> None:
        super().__init__(features, obs_dim, 2 * obs_dim, min_scale, more)

    def forward(self, x: Tensor) -> Distribution:
        """p(y | x)."""
        return _each(Normal(*self._placed(x, *self.net(x).chunk(2, -1)), validate_args=False))


class StudentHead(_Located):
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
        return _each(StudentT(self.df, loc, scale, validate_args=False))


class MultivariateHead(_Located):
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
        self.lower: Tensor = nn.Parameter(torch.zeros(obs_dim, obs_dim, dtype=more[-1]))
        self.register_buffer("size", torch.ones(obs_dim, dtype=more[-1]))
        self.register_buffer("wide", torch.ones((), dtype=more[-1]))

    def forward(self, x: Tensor) -> Distribution:
        """p(y | x)."""
        loc, raw = self.net(x).chunk(2, -1)
        one = inverse_softplus(1 - self.min_scale)
        size = self.size * self.wide
        scale = size * (self.min_scale + softplus(raw + one))
        lower = self.lower.tril(-1) + torch.eye(len(size), dtype=loc.dtype, device=loc.device)
        if self.line is not None:
            with torch.autocast(x.device.type, enabled=False):
                loc = self.line(x) + (size * loc) @ lower.mT
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
        moved = cov.diagonal().mean()
        root = torch.linalg.cholesky(cov + 1e-6 * moved * torch.eye(len(cov)).to(cov))
        self.size.copy_(root.diagonal())
        self.lower.copy_(root / root.diagonal())
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


class MixtureHead(_Located):
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
            _each(Normal(*placed, validate_args=False)),
            validate_args=False,
        )


class BernoulliHead(Head):
    """Each entry 0 or 1, by its logit."""

    def __init__(self, features: int, obs_dim: int, more: Any) -> None:
        super().__init__(features, obs_dim, *more)

    def forward(self, x: Tensor) -> Distribution:
        """p(y | x)."""
        return _each(Bernoulli(logits=self.net(x), validate_args=False))

    @torch.no_grad()
    def learn(self, values: Tensor, seen: Tensor) -> None:
        """Logits of how often each entry is 1."""
        ones, count = _totals(values, seen)
        self._bias.copy_(torch.logit((ones + 0.5) / (count + 1)))


class PoissonHead(Head):
    """Each entry a count, by the logarithm of its rate."""

    def __init__(self, features: int, obs_dim: int, more: Any) -> None:
        super().__init__(features, obs_dim, *more)

    def forward(self, x: Tensor) -> Distribution:
        """p(y | x)."""
        return _each(LogRatePoisson(self.net(x)))

    @torch.no_grad()
    def learn(self, values: Tensor, seen: Tensor) -> None:
        """Logarithms of the mean counts."""
        total, count = _totals(values, seen)
        self._bias.copy_(torch.log((total + 0.5) / (count + 1)))


class CategoricalHead(Head):
    """One of V categories, by its logit."""

    def __init__(self, features: int, num_categories: int, more: Any) -> None:
        super().__init__(features, num_categories, *more)

    def forward(self, x: Tensor) -> Distribution:
        """p(y | x), event (1,)."""
        logits = self.net(x)[..., None, :]
        return _each(Categorical(logits=logits, validate_args=False))

    @torch.no_grad()
    def learn(self, values: Tensor, seen: Tensor) -> None:
        """Logarithms of how often each category is seen."""
        size = self._bias.shape[0]
        counts = torch.bincount(values[seen.bool()], minlength=size)[:size].double()
        self._bias.copy_(torch.log((counts + 0.5) / (counts.sum() + 0.5 * size)))


def _totals(values: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of each column over what was observed, and how often it was."""
    x, on = values.double(), seen.double()
    axes = tuple(range(x.dim() - 1))
    return (on * x).sum(axes), on.sum(axes)


FAMILIES = (
    "gaussian",
    "student_t",
    "multivariate_normal",
    "multivariate_student_t",
    "mixture",
    "bernoulli",
    "poisson",
    "categorical",
)


def emission_head(
    family: Any,
    features: int,
    obs_dim: int,
    *,
    hidden: Sequence[int] = (),
    activation: str = "tanh",
    skip: bool = False,
    num_categories: int | None = None,
    num_components: int | None = None,
    min_scale: float = 1e-3,
    dtype: torch.dtype = torch.float32,
) -> nn.Module:
    """A Module from features (*, f) to a density of y.

    Args:
        family: "gaussian", "student_t", "multivariate_normal", "multivariate_student_t",
            "mixture" (of Gaussians), "bernoulli", "poisson", "categorical", or a Module of the
            user's whose call returns a Distribution.
        features: f.
        obs_dim: m.
        hidden: Widths of layers between.
        activation: Between them.
        skip: Whether a linear map of the features is added.
        num_categories: V, of a categorical y (or of a user's head for one).
        num_components: Of a mixture.
        min_scale: A floor under the scales, in standard deviations of the training data.
        dtype: Of the weights.

    Raises:
        InputError, InputTypeError: an unknown family, or an argument that it has no use for.

    Example:
        >>> emission_head("bernoulli", 3, 88)(torch.zeros(5, 4, 3)).event_shape
        torch.Size([88])
    """
    if isinstance(family, nn.Module):
        return family
    if not isinstance(family, str) or family not in FAMILIES:
        words = ", ".join(f'"{name}"' for name in FAMILIES)
        todo = "Choose one, or give a Module whose call returns a Distribution."
        raise InputError(expected("family", f"one of {words}", f"{family!r:.60}", todo))
    _check_own("num_categories", num_categories, family == "categorical", family)
    _check_own("num_components", num_components, family == "mixture", family)
    if not isinstance(min_scale, int | float) or not 0 < min_scale < 1:
        todo = "Give a part of the standard deviation of the data."
        raise InputError(expected("min_scale", "a number in (0, 1)", repr(min_scale), todo))
    more = (hidden, activation, skip, dtype)
    if family == "categorical":
        if obs_dim != 1:
            todo = "Give obs_dim=1; the size of the vocabulary is num_categories."
            raise InputError(expected("obs_dim", "1 for a categorical y", str(obs_dim), todo))
        size = read_count(num_categories, name="num_categories", at_least=2)
        return CategoricalHead(features, size, more)
    if family == "mixture":
        size = read_count(num_components, name="num_components", at_least=1)
        return MixtureHead(features, obs_dim, size, min_scale, more)
    if family in ("bernoulli", "poisson"):
        return (BernoulliHead if family == "bernoulli" else PoissonHead)(features, obs_dim, more)
    located: dict[str, Any] = {
        "gaussian": GaussianHead,
        "multivariate_normal": MultivariateHead,
        "multivariate_student_t": MultivariateStudentHead,
        "student_t": StudentHead,
    }
    head: nn.Module = located[family](features, obs_dim, min_scale, more)
    return head


def _check_own(name: str, value: Any, own: bool, family: str) -> None:
    if own and value is None:
        todo = f"Give {name}=."
        raise InputTypeError(expected(name, f"a number, for family={family!r}", "none", todo))
    if value is not None and not own:
        todo = "Leave it out."
        raise InputError(expected(name, f"none beside family={family!r}", repr(value), todo))
