"""Posterior heads: from z_{t-1}, e_t, h_t and the prior of z_t to q(z_t | .)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal
from torch.nn.functional import linear, softplus

from statespace.nn.chains import LN2, combined
from statespace.nn.layers import Perceptron, mlp
from statespace.shapes import join

__all__ = [
    "POSTERIORS",
    "Combiner",
    "GaussianNet",
    "Mlp",
    "Posterior",
    "Product",
    "Residual",
    "posterior",
]


def normal(mean: Tensor, scale: Tensor) -> Distribution:
    """A Gaussian with independent entries, event (n,)."""
    return Independent(Normal(mean, scale, validate_args=False), 1, validate_args=False)


class GaussianNet(nn.Module):
    """Mean and scale of a Gaussian from features: a perceptron, and a floor under the scale.

        mean, r = net(x),   scale = floor + softplus(r) / log 2     (r = 0 is a scale of 1 + floor)

    Args:
        features: The width of x.
        size: n.
        hidden: Widths between.
        activation: Between them.
        skip: Whether a linear map of x is added.
        min_scale: The floor.
        dtype: Of the weights.
    """

    def __init__(
        self,
        features: int,
        size: int,
        hidden: Sequence[int] = (),
        *,
        activation: str = "tanh",
        skip: bool = False,
        min_scale: float = 1e-3,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.min_scale = min_scale
        how = {"activation": activation, "skip": skip, "dtype": dtype}
        self.net = mlp(features, 2 * size, hidden, **how)  # type: ignore[arg-type]

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and scale, (*, n) each."""
        mean, raw = self.net(x).chunk(2, -1)
        return mean, self.min_scale + softplus(raw) / LN2

    def forward(self, x: Tensor) -> Distribution:
        """N(mean, diag scale^2)."""
        return normal(*self.parts(x))


class Posterior(nn.Module, ABC):
    """q(z_t | z_{t-1}, e_t, h_t), with the prior of z_t at hand.

    Args:
        size: n.
        encoding: The width of e.
        memory: The width of h.
        reads: What it looks at besides e, of {"z", "h"}.
        **how: Of its `GaussianNet`: hidden, activation, skip, min_scale, dtype.
    """

    reads_prior: ClassVar[bool] = False

    def __init__(
        self,
        size: int,
        encoding: int,
        memory: int = 0,
        *,
        reads: Iterable[str] = (),
        **how: Any,
    ) -> None:
        super().__init__()
        self.reads = frozenset(reads)
        self.size, self.encoding = size, encoding
        features = encoding + size * ("z" in self.reads) + memory * ("h" in self.reads)
        self.net = self._net(features, how)

    def _net(self, features: int, how: dict[str, Any]) -> GaussianNet:
        return GaussianNet(features, self.size, **how)

    def _features(self, z: Any, e: Tensor, h: Tensor) -> Tensor:
        parts = [e]
        if "z" in self.reads:
            parts.append(z)
        if "h" in self.reads:
            parts.append(h)
        return join(*parts)

    @property
    def chained(self) -> bool:
        """Whether `chain` draws all rows."""
        return False

    def chain(
        self, z: Tensor, e: Tensor, h: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `Guide.chain`."""
        raise NotImplementedError

    @abstractmethod
    def forward(self, z: Any, e: Tensor, h: Tensor, prior: Any) -> Distribution:
        """The density."""


class Mlp(Posterior):
    """N(m(x), s(x)^2), x = [e_t, z_{t-1}, h_t]."""

    def forward(self, z: Any, e: Tensor, h: Tensor, prior: Any) -> Distribution:
        """The density."""
        found: Distribution = self.net(self._features(z, e, h))
        return found


class Residual(Posterior):
    """N(prior mean + m(x), s(x)^2): what the data add to the prior (Fraccaro et al. 2016)."""

    reads_prior = True

    def forward(self, z: Any, e: Tensor, h: Tensor, prior: Any) -> Distribution:
        """The density."""
        shift, scale = self.net.parts(self._features(z, e, h))
        mean = prior.mean + shift
        return normal(mean, scale.expand(mean.shape))


class Product(Posterior):
    """The prior times N(m(x), s(x)^2), normalised: precisions add.

    Where the data say nothing (a large s) it is the prior.
    """

    reads_prior = True

    def forward(self, z: Any, e: Tensor, h: Tensor, prior: Any) -> Distribution:
        """The density."""
        mean, scale = self.net.parts(self._features(z, e, h))
        own, its = prior.variance.reciprocal(), scale.square().reciprocal()
        precision = own + its
        return normal((own * prior.mean + its * mean) / precision, precision.rsqrt())


class Combiner(Posterior):
    """N(m(c), s(c)^2), c = (tanh(W x + b) + e_t) / 2 (Krishnan, Shalit and Sontag 2017).

    x is z_{t-1}, and h_t beside it where that is read.
    """

    def __init__(
        self, size: int, encoding: int, memory: int = 0, *, reads: Iterable[str] = (), **how: Any
    ) -> None:
        reads = {"z", *reads}
        super().__init__(size, encoding, memory, reads=reads, **how)
        width = size + memory * ("h" in reads)
        self.entry = nn.Linear(width, encoding, dtype=how.get("dtype", torch.float32))

    def _net(self, features: int, how: dict[str, Any]) -> GaussianNet:
        return GaussianNet(self.encoding, self.size, **how)

    def forward(self, z: Any, e: Tensor, h: Tensor, prior: Any) -> Distribution:
        """The density."""
        x = join(z, h) if "h" in self.reads else z
        found: Distribution = self.net(0.5 * (self.entry(x).tanh() + e))
        return found

    @property
    def chained(self) -> bool:
        """Where the net is affine, and products are taken in the precision of the weights."""
        device, net = self.entry.weight.device.type, self.net.net
        affine = isinstance(net, Perceptron) and len(net) == 1
        return affine and not torch.is_autocast_enabled(device)

    def chain(
        self, z: Tensor, e: Tensor, h: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `Guide.chain`."""
        n, lead = self.size, noise.shape[:-2]

        def rows_first(x: Tensor) -> Tensor:
            return x.expand(*lead, *x.shape[-2:]).reshape(-1, *x.shape[-2:]).movedim(1, 0)

        weight = self.entry.weight
        a: Tensor = self.entry.bias
        if "h" in self.reads:
            a = rows_first(linear(h, weight[:, n:], a))
        net: Any = self.net.net
        last = net[-1]
        found = combined(
            z.expand(*lead, n).reshape(-1, n),
            rows_first(noise),
            rows_first(e),
            (weight[:, :n], a),
            (last.weight, last.bias),
            self.net.min_scale,
        )
        mean, scale = (x.movedim(0, 1).reshape(noise.shape) for x in found[1:])
        return found[0].movedim(0, 1).reshape(noise.shape), mean, scale


POSTERIORS: dict[str, type[Posterior]] = {
    "mlp": Mlp,
    "residual": Residual,
    "product": Product,
    "combiner": Combiner,
}


def posterior(word: str, size: int, encoding: int, memory: int = 0, **how: Any) -> Posterior:
    """A posterior head by its word: "mlp", "residual", "product" or "combiner".

    Example:
        >>> q = posterior("combiner", 2, 8)
        >>> q(torch.zeros(64, 5, 2), torch.zeros(5, 8), torch.zeros(5, 0), None).batch_shape
        torch.Size([64, 5])
    """
    return POSTERIORS[word](size, encoding, memory, **how)
