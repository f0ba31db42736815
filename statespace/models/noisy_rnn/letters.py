"""The parameters of a noisy recurrent network: their shapes, and how they read."""

from __future__ import annotations

from torch import Tensor

from statespace.models.shared.letters import AffineLetters, affine_shapes
from statespace.models.shared.slots import Shapes

__all__ = ["Letters", "shapes"]


def shapes(n: int, rows: int, p: int) -> Shapes:
    """Shape and axes of every parameter that may be there; `rows` is the height of C."""
    return affine_shapes(n, rows, p, "W") | {"df": ((1,), ("one for all",))}


class Letters(AffineLetters):
    """Reads the parameters of a noisy recurrent network by their letters."""

    @property
    def W(self) -> Tensor:
        """(*batch, [T,] n, p)."""
        return self._value("W")

    @property
    def R(self) -> Tensor | None:
        """(*batch, [T,] m, m); None where the family has none."""
        return self._value("R") if "R" in self.slots else None

    @property
    def df(self) -> Tensor | None:
        """(*batch, [T,] 1), degrees of freedom of Student's t; None elsewhere."""
        return self._value("df") if "df" in self.slots else None

    @property
    def initial_mean(self) -> Tensor:
        """(*batch, n)."""
        return self._value("initial_mean")

    @property
    def initial_cov(self) -> Tensor:
        """(*batch, n, n)."""
        return self._value("initial_cov")
