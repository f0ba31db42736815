"""The parameters of a linear dynamical system: their shapes, and how they read."""

from __future__ import annotations

from torch import Tensor

from statespace.gaussian import Gaussian
from statespace.models.lds.initial import prior_of
from statespace.models.shared.letters import AffineLetters, affine_shapes
from statespace.models.shared.slots import MOMENTS, Shapes

__all__ = ["Letters", "shapes"]


class Letters(AffineLetters):
    """Reads the parameters of an LDS by their letters."""

    @property
    def B(self) -> Tensor:
        """(*batch, [T,] n, p)."""
        return self._value("B")

    @property
    def R(self) -> Tensor:
        """(*batch, [T,] m, m)."""
        return self._value("R")

    @property
    def initial_mean(self) -> Tensor:
        """(*batch, n), computed where the start is stationary, 0 where it is diffuse."""
        return self._prior().mean

    @property
    def initial_cov(self) -> Tensor:
        """(*batch, n, n), computed where the start is stationary, inf where it is diffuse."""
        return self._prior().cov

    def _prior(self) -> Gaussian:
        self._require(*MOMENTS, *(("A", "b", "Q") if "stationary" in self.kinds else ()))
        return prior_of(
            self.kinds,
            self.slot("initial_mean"),
            self._covariance("initial_cov"),
            self.slot("A"),
            self.slot("b"),
            self._covariance("Q"),
        )


def shapes(n: int, m: int, p: int) -> Shapes:
    """Shape and axes of every parameter."""
    return affine_shapes(n, m, p, "B")
