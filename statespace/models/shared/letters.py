"""The parameters of a state that moves, and is seen, by affine maps: shapes, and how they read."""

from __future__ import annotations

from torch import Tensor

from statespace.models.shared.slots import Parameters, Shapes

__all__ = ["AffineLetters", "affine_shapes"]


class AffineLetters(Parameters):
    """Reads A, b, C, D, d and Q; `[T,]` where one varies in time."""

    @property
    def A(self) -> Tensor:
        """(*batch, [T,] n, n)."""
        return self._value("A")

    @property
    def b(self) -> Tensor:
        """(*batch, [T,] n)."""
        return self._value("b")

    @property
    def C(self) -> Tensor:
        """(*batch, [T,] m, n); V rows where y is one of V categories."""
        return self._value("C")

    @property
    def D(self) -> Tensor:
        """(*batch, [T,] m, p); V rows where y is one of V categories."""
        return self._value("D")

    @property
    def d(self) -> Tensor:
        """(*batch, [T,] m); V entries where y is one of V categories."""
        return self._value("d")

    @property
    def Q(self) -> Tensor:
        """(*batch, [T,] n, n)."""
        return self._value("Q")


def affine_shapes(n: int, rows: int, p: int, inputs: str) -> Shapes:
    """Shape and axes of every parameter, in order.

    Args:
        n: Size of the state.
        rows: The height of C.
        p: Size of the input.
        inputs: The letter of what takes u into the state.
    """
    return {
        "A": ((n, n), ("latent", "latent")),
        inputs: ((n, p), ("latent", "input")),
        "b": ((n,), ("latent",)),
        "C": ((rows, n), ("obs", "latent")),
        "D": ((rows, p), ("obs", "input")),
        "d": ((rows,), ("obs",)),
        "Q": ((n, n), ("latent", "latent")),
        "R": ((rows, rows), ("obs", "obs")),
        "initial_mean": ((n,), ("latent",)),
        "initial_cov": ((n, n), ("latent", "latent")),
    }
