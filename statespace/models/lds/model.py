"""The linear dynamical system."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Generator, Tensor

from statespace.files import register
from statespace.gaussian import AffineConditional, Gaussian
from statespace.inference.kalman import Kalman
from statespace.interface import Context, LinearGaussian, Maximisable, Real
from statespace.learning import EM
from statespace.models.lds import mstep, structural_start, subspace
from statespace.models.lds.canonical import Identifiable
from statespace.models.lds.initial import check_stationary
from statespace.models.lds.random_start import random_values
from statespace.models.lds.slots import Letters, shapes
from statespace.models.lds.structural import Structural
from statespace.models.lds.sums import sum_arguments
from statespace.models.shared.initial import declare_start
from statespace.models.shared.record import describe, restore
from statespace.models.shared.rows import conditional
from statespace.models.shared.slots import (
    MOMENTS,
    check_dtype,
    check_sizes,
    make_slots,
    one_device,
)
from statespace.parameters import declared
from statespace.results import Smoothed
from statespace.sequences import Sequences

__all__ = ["LDS"]


@register("LDS")
class LDS(Letters, Structural, Identifiable, LinearGaussian, Maximisable):
    """A linear dynamical system with Gaussian noise.

        z_1 ~ N(initial_mean, initial_cov)
        z_t = A z_{t-1} + B u_t + b + w_t,    w_t ~ N(0, Q)
        y_t = C z_t + D u_t + d + v_t,        v_t ~ N(0, R)

    Every parameter may be left out (it is then found from the data at `fit`), given as start
    values, or declared by `Param`, `Fixed` or `Varying`. Each may have leading batch axes: one
    model per series. Two are held at zero where they are left out: b, since d already moves the
    level, and d beside a C that is given.

    Args:
        latent_dim: n, the size of z; 0 for a regression without state.
        obs_dim: m, the size of y.
        input_dim: p, the size of u.
        A, B, b: Transition, (n, n), (n, p), (n,).
        C, D, d: Emission, (m, n), (m, p), (m,).
        Q, R: Noise covariances, (n, n), (m, m).
        initial_mean, initial_cov: Moments of z_1, (n,), (n, n); held when given, unless
            `initial="estimate"`.
        initial: "known" (the default where both moments are given), "estimate" (the default
            elsewhere), "stationary" or "diffuse"; or a list of these, one for each state. A
            stationary start has mean (I - A)^-1 b, whatever the inputs.
        diffuse_constant: Whether log 2 pi is counted for the observations that a diffuse start
            uses up.
        dtype: torch.float64 or torch.float32.
        seed: Draws what was left out at random, as a stable system, instead of leaving it to
            `fit`.

    Raises:
        InputError, InputTypeError: an argument of a wrong shape or type, NaN, a covariance that
            is none, a stationary start of a system that has no stationary distribution.

    Example:
        >>> import torch
        >>> lds = LDS(1, 1, A=[[0.9]], C=[[1.0]], d=[0.0], Q=[[0.19]], R=[[1.0]],
        ...           initial="stationary")
        >>> round(float(lds.initial_cov.detach()), 6)
        1.0
        >>> lds.num_params
        5

    Source: Kalman (1960); the notation is that of `docs/notation.md`.
    """

    def __init__(
        self,
        latent_dim: int,
        obs_dim: int,
        input_dim: int = 0,
        *,
        A: Any = None,
        B: Any = None,
        b: Any = None,
        C: Any = None,
        D: Any = None,
        d: Any = None,
        Q: Any = None,
        R: Any = None,
        initial_mean: Any = None,
        initial_cov: Any = None,
        initial: str | Sequence[str] | None = None,
        diffuse_constant: bool = True,
        dtype: torch.dtype = torch.float64,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        check_sizes(latent_dim, obs_dim, input_dim)
        check_dtype(dtype)
        n, m, p = latent_dim, obs_dim, input_dim
        self.latent, self.obs_dim, self.input_dim = Real(n), m, p
        self.diffuse_constant = diffuse_constant
        device = one_device(
            {"A": A, "B": B, "b": b, "C": C, "D": D, "d": d, "Q": Q, "R": R}
            | {"initial_mean": initial_mean, "initial_cov": initial_cov}
        )
        still = d is None and C is not None  # who writes C down writes d down where there is one
        start = declare_start(n, initial, initial_mean, initial_cov, dtype, device)
        given = {
            "A": declared(A),
            "B": declared(B),
            "b": declared(np.zeros(n) if b is None else b, held=b is None),
            "C": declared(C),
            "D": declared(D),
            "d": declared(np.zeros(m) if still else d, held=still),
            "Q": declared(Q),
            "R": declared(R),
            "initial_mean": start.mean,
            "initial_cov": start.cov,
        }
        self.slots = make_slots(shapes(n, m, p), given, dtype, device)
        self.kinds = start.kinds
        self._check_batches()
        self._check_start()
        if seed is not None:
            random_values(self, torch.Generator().manual_seed(seed))

    def _check_start(self) -> None:
        check_stationary(self.kinds, self.slot("A"), (self.slot("b"), self.slot("Q")))
        needed = [self.slot(name) for name in ("A", "b", "Q", "initial_mean", "initial_cov")]
        if "stationary" in self.kinds and all(slot.is_set for slot in needed):
            with torch.no_grad():
                self._prior()

    # ------------------------------------------------------------------ the contract

    def prior(self, ctx: Context | None = None) -> Gaussian:
        """p(z_1), (*batch, n)."""
        return self._prior()

    def dynamics(self, ctx: Context) -> AffineConditional:
        """p(z_t | z_{t-1}): A, b + B u_t, Q."""
        self._require("A", "B", "b", "Q")
        return conditional(
            self.slot("A"), self.slot("B"), self.slot("b"), self._covariance("Q"), ctx
        )

    def readout(self, ctx: Context) -> AffineConditional:
        """p(y_t | z_t): C, d + D u_t, R."""
        self._require("C", "D", "d", "R")
        return conditional(
            self.slot("C"), self.slot("D"), self.slot("d"), self._covariance("R"), ctx
        )

    def default_method(self) -> Kalman:
        """Exact."""
        return Kalman()

    def default_learner(self) -> EM:
        """Expectation maximisation, then the exact gradient."""
        return EM()

    # ------------------------------------------------------------------ learning

    @property
    def mstep_exact(self) -> bool:
        """Whether `maximise` reaches the maximum, and not only a higher point."""
        return mstep.exact(self)

    takes_sums: ClassVar[bool] = True

    def statistics(self, smoothed: Smoothed, data: Sequences) -> Any:
        """Expected sufficient statistics, additive over series."""
        return mstep.statistics(self, smoothed, data)

    def maximise(self, statistics: Any) -> None:
        """Sets the parameters from expected statistics, honouring what is held or tied."""
        mstep.maximise(self, statistics)

    def start_values(self, data: Sequences, generator: Generator) -> None:
        """Start values for whatever has none, from the data."""
        structural_start.start_values(self, data)
        subspace.start_values(self, data, generator)

    # ------------------------------------------------------------------ copies, sums, storage

    def replace(self, **changes: Any) -> LDS:
        """A new model with the same declarations and values, but for those given.

        Args:
            **changes: Arguments of the constructor other than the sizes.

        Example:
            >>> level = LDS.local_level()
            >>> level.num_params, level.replace(R=None).num_params
            (1, 2)
        """
        sizes = (self.latent_dim, self.obs_dim, self.input_dim)
        return LDS(*sizes, **{**self._arguments(moments="initial" not in changes), **changes})

    def _arguments(self, *, moments: bool = True) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            name: slot.declaration() for name, slot in self._slots() if name not in MOMENTS
        }
        if moments:
            arguments["initial"] = list(self.kinds)
            if {"known", "estimate"} & set(self.kinds):
                arguments |= {name: self.slot(name).declaration() for name in MOMENTS}
        return arguments | {"diffuse_constant": self.diffuse_constant, "dtype": self.dtype}

    def __add__(self, other: Any) -> LDS:
        """The model of the sum of two independent components; one free R (see `Structural`)."""
        if not isinstance(other, LDS):
            return NotImplemented
        sizes, arguments = sum_arguments(self, other)
        return LDS(*sizes, **arguments)

    def __radd__(self, other: Any) -> LDS:
        """`sum` of components begins with 0; the model is new here too."""
        return self.replace() if isinstance(other, int) and other == 0 else NotImplemented

    def _describe(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        return describe(self, diffuse_constant=self.diffuse_constant)

    @classmethod
    def _restore(cls, record: dict[str, Any], tensors: dict[str, Tensor], **functions: Any) -> LDS:
        found: LDS = restore(cls, record, tensors, ("diffuse_constant",))
        return found

    def extra_repr(self) -> str:
        inputs = f", input_dim={self.input_dim}" if self.input_dim else ""
        return (
            f"latent_dim={self.latent_dim}, obs_dim={self.obs_dim}{inputs}, "
            f"initial={self.initial_kind!r}, learned={self.num_params}"
        )
