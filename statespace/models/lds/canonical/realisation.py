"""The parameters of a linear dynamical system as plain matrices, and a change of its state."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from statespace.errors import InputError, expected
from statespace.linalg import psd_root, quadratic

__all__ = ["Realisation"]


@dataclass(frozen=True)
class Realisation:
    """z_t = A z_{t-1} + B u_t + b + w_t, w ~ N(0, Q);  y_t = C z_t + D u_t + d + v_t, v ~ N(0, R).

    Attributes:
        A, B, b, C, D, d, Q, R: Constant in time, (*batch, n, n), (*batch, n, p), (*batch, n),
            (*batch, m, n), (*batch, m, p), (*batch, m), (*batch, n, n), (*batch, m, m).
        initial_mean, initial_cov: Moments of z_1, (*batch, n), (*batch, n, n); inf on the diagonal
            of the covariance where z_1 is diffuse.
    """

    A: Tensor
    B: Tensor
    b: Tensor
    C: Tensor
    D: Tensor
    d: Tensor
    Q: Tensor
    R: Tensor
    initial_mean: Tensor
    initial_cov: Tensor

    @classmethod
    def of(cls, model: Any) -> Realisation:
        """The parameters of an `LDS`, detached.

        Raises:
            InputError: one of them varies in time, or has no value yet.
        """
        for name, slot in model.slots.items():
            if slot.varies:
                raise InputError(
                    expected(
                        name,
                        "a parameter that is constant in time",
                        "one that varies",
                        "No one change of state fits all rows; look at the rows one by one.",
                    )
                )
        return cls(**{field.name: getattr(model, field.name).detach() for field in fields(cls)})

    @property
    def n(self) -> int:
        """Size of the state."""
        return self.A.shape[-1]

    def transform(self, T: Tensor) -> Realisation:
        """The same system with the state T z: every likelihood and forecast of y is the same.

        Where directions of z_1 are diffuse, T stretches their flat measure, and the log-likelihood
        changes by a constant that does not hang on the data: +log |det T| where all are diffuse
        and resolved. Where only some are, the states that they are mixed into come out infinite.

        Args:
            T: Invertible, (*batch, n, n).

        Raises:
            InputError: T is not n by n, or has no inverse.

        Example:
            >>> import torch
            >>> one, no = torch.eye(1), torch.zeros(1)
            >>> s = Realisation(0.9 * one, one, no, one, one, no, one, one, no, one)
            >>> new = s.transform(2 * one)
            >>> new.A.item(), new.C.item(), new.Q.item()
            (0.8999999761581421, 0.5, 4.0)
        """
        n = self.n
        if T.shape[-2:] != (n, n):
            raise InputError(
                expected("T", f"shape (..., {n}, {n})", f"{tuple(T.shape)}", "Give a square T.")
            )
        inverse, bad = torch.linalg.inv_ex(T)
        if bool(bad.any()) or not bool(inverse.isfinite().all()):
            raise InputError(
                expected("T", "an invertible matrix", "a singular one", "Give T of full rank.")
            )

        return replace(
            self,
            A=T @ self.A @ inverse,
            B=T @ self.B,
            b=(T @ self.b[..., None])[..., 0],
            C=self.C @ inverse,
            Q=quadratic(T @ psd_root(self.Q, "Q")),
            initial_mean=(T @ self.initial_mean[..., None])[..., 0],
            initial_cov=_moved_start(self.initial_cov, T),
        )


def _moved_start(cov: Tensor, T: Tensor) -> Tensor:
    """T P T' for a P that may be infinite along some states."""
    diffuse = cov.diagonal(dim1=-2, dim2=-1).isinf()
    proper = ~(diffuse[..., :, None] | diffuse[..., None, :])
    new = quadratic(T @ psd_root(torch.where(proper, cov, 0.0), "initial_cov"))
    if not bool(diffuse.any()):
        return new
    loose = T * diffuse[..., None, :]
    spread, size = quadratic(loose), loose.square().sum(-1).sqrt()
    rounding = torch.finfo(T.dtype).eps ** 0.75 * size[..., :, None] * size[..., None, :]
    return torch.where(spread.abs() > rounding, spread.sign() * torch.inf, new)
