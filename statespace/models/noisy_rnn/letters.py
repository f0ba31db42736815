"""The parameters of a noisy recurrent network: their shapes, and how they read."""

from __future__ import annotations

from torch import Tensor

from statespace.models.shared.slots import Parameters, Shapes

__all__ = ["Letters", "shapes"]


def shapes(n: int, rows: int, p: int) -> Shapes:
    """Shape and axes of every parameter that may be there; `rows` is the height of C."""
    return {
        "A": ((n, n), ("latent", "latent")),
        "W": ((n, p), ("latent", "input")),
        "b": ((n,), ("latent",)),
        "C": ((rows, n), ("obs", "latent")),
        "D": ((rows, p), ("obs", "input")),
        "d": ((rows,), ("obs",)),
        "Q": ((n, n), ("latent", "latent")),
        "R": ((rows, rows), ("obs", "obs")),
        "df": ((1,), ("one for all",)),
        "initial_mean": ((n,), ("latent",)),
        "initial_cov": ((n, n), ("latent", "latent")),
    }


class Letters(Parameters):
    """Reads the parameters of a noisy recurrent network by their letters."""

    @property
    def A(self) -> Tensor:
        """(*batch, [T,] n, n)."""
        return self._value("A")

    @property
    def W(self) -> Tensor:
        """(*batch, [T,] n, p)."""
        return self._value("W")

    @property
    def b(self) -> Tensor:
        """(*batch, [T,] n)."""
        return self._value("b")

    @property
    def C(self) -> Tensor:
        """(*batch, [T,] m, n); V rows where y is categorical."""
        return self._value("C")

    @property
    def D(self) -> Tensor:
        """(*batch, [T,] m, p); V rows where y is categorical."""
        return self._value("D")

    @property
    def d(self) -> Tensor:
        """(*batch, [T,] m); V entries where y is categorical."""
        return self._value("d")

    @property
    def Q(self) -> Tensor:
        """(*batch, [T,] n, n)."""
        return self._value("Q")

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
