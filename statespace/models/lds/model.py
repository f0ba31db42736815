"""The linear dynamical system."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn

from statespace.errors import InputError, InputTypeError, expected
from statespace.files import register
from statespace.gaussian import AffineConditional, Gaussian
from statespace.inference.kalman import Kalman
from statespace.interface import Context, LinearGaussian, Maximisable, Real
from statespace.learning import EM
from statespace.models.lds import mstep, structural_start, subspace
from statespace.models.lds.canonical import Identifiable
from statespace.models.lds.initial import check_stationary, declare_start, prior_of
from statespace.models.lds.random_start import random_values
from statespace.models.lds.record import describe, restore
from statespace.models.lds.rows import conditional
from statespace.models.lds.structural import Structural
from statespace.models.lds.sums import sum_arguments
from statespace.parameters import CovarianceSlot, Fixed, Param, Slot, Varying, declared
from statespace.results import Smoothed
from statespace.sequences import Sequences

__all__ = ["LDS"]


@register("LDS")
class LDS(Structural, Identifiable, LinearGaussian, Maximisable):
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
        n, m, p = _sizes(latent_dim, obs_dim, input_dim)
        _check_dtype(dtype)
        self.latent, self.obs_dim, self.input_dim = Real(n), m, p
        self.diffuse_constant = diffuse_constant
        device = _one_device(
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
        self.slots = nn.ModuleDict(
            {
                name: (CovarianceSlot if name in _COVARIANCES else Slot)(
                    name, event, axes, given[name], dtype=dtype, device=device
                )
                for name, (event, axes) in _shapes(n, m, p).items()
            }
        )
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

    def _check_batches(self) -> None:
        shapes = {name: tuple(slot.batch_shape) for name, slot in self._slots()}
        try:
            torch.broadcast_shapes(*shapes.values())
        except RuntimeError as error:
            listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items() if shape)
            raise InputError(
                expected(
                    "A, B, b, ...",
                    "leading batch axes that broadcast",
                    listed,
                    "Give every parameter the same batch shape, or none.",
                )
            ) from error

    # ------------------------------------------------------------------ what it is

    @property
    def latent_dim(self) -> int:
        """n, the size of the state."""
        return self.latent.size

    @property
    def initial_kind(self) -> str | list[str]:
        """How z_1 is treated, the argument `initial`: one word, or a list of one per state."""
        same = len(set(self.kinds)) == 1
        return self.kinds[0] if same else list(self.kinds)

    @property
    def dtype(self) -> torch.dtype:
        """Of all parameters."""
        return self.slot("A").held.dtype

    @property
    def device(self) -> torch.device:
        """Of all parameters."""
        return self.slot("A").held.device

    @property
    def batch_shape(self) -> torch.Size:
        """Leading axes of the parameters: one model each."""
        return torch.broadcast_shapes(*(slot.batch_shape for _, slot in self._slots()))

    @property
    def num_params(self) -> int:
        """How many numbers are learned, for one model of the batch.

        Row 0 of what varies in the transition acts on nothing and is not counted.
        """
        total = 0
        for name, slot in self._slots():
            rows = slot.num_rows
            total += slot.n_free * (1 if rows is None else rows - (name in _TRANSITION))
        return total

    def slot(self, name: str) -> Slot:
        """The module that stores a parameter."""
        found = self.slots[name]
        assert isinstance(found, Slot)
        return found

    def _slots(self) -> list[tuple[str, Slot]]:
        return [(name, self.slot(name)) for name in self.slots]

    def _covariance(self, name: str) -> CovarianceSlot:
        found = self.slots[name]
        assert isinstance(found, CovarianceSlot)
        return found

    def _value(self, name: str) -> Tensor:
        self._require(name)
        return self.slot(name).value()

    @property
    def A(self) -> Tensor:
        """(*batch, [T,] n, n)."""
        return self._value("A")

    @property
    def B(self) -> Tensor:
        """(*batch, [T,] n, p)."""
        return self._value("B")

    @property
    def b(self) -> Tensor:
        """(*batch, [T,] n)."""
        return self._value("b")

    @property
    def C(self) -> Tensor:
        """(*batch, [T,] m, n)."""
        return self._value("C")

    @property
    def D(self) -> Tensor:
        """(*batch, [T,] m, p)."""
        return self._value("D")

    @property
    def d(self) -> Tensor:
        """(*batch, [T,] m)."""
        return self._value("d")

    @property
    def Q(self) -> Tensor:
        """(*batch, [T,] n, n)."""
        return self._value("Q")

    @property
    def R(self) -> Tensor:
        """(*batch, [T,] m, m)."""
        return self._value("R")

    @property
    def initial_mean(self) -> Tensor:
        """(*batch, n), computed where the start is stationary, 0 where it is diffuse."""
        return self.prior().mean

    @property
    def initial_cov(self) -> Tensor:
        """(*batch, n, n), computed where the start is stationary, inf where it is diffuse."""
        return self.prior().cov

    # ------------------------------------------------------------------ the contract

    def _require(self, *names: str) -> None:
        if all(self.slot(name).is_set for name in names):
            return
        unset = [name for name, slot in self._slots() if not slot.is_set]
        raise InputError(
            expected(
                ", ".join(unset),
                "values",
                "none yet",
                f"Call fit first, or give {', '.join(f'{name}=' for name in unset)}.",
            )
        )

    def _prior(self) -> Gaussian:
        return prior_of(
            self.kinds,
            self.slot("initial_mean"),
            self._covariance("initial_cov"),
            self.slot("A"),
            self.slot("b"),
            self._covariance("Q"),
        )

    def prior(self, ctx: Context | None = None) -> Gaussian:
        """p(z_1), (*batch, n)."""
        self._require("initial_mean", "initial_cov")
        if "stationary" in self.kinds:
            self._require("A", "b", "Q")
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
            name: slot.declaration() for name, slot in self._slots() if name not in _MOMENTS
        }
        if moments:
            arguments["initial"] = list(self.kinds)
            if {"known", "estimate"} & set(self.kinds):
                arguments |= {name: self.slot(name).declaration() for name in _MOMENTS}
        return arguments | {"diffuse_constant": self.diffuse_constant, "dtype": self.dtype}

    def __add__(self, other: Any) -> LDS:
        """The model of the sum of two independent components; one free R (see `Structural`)."""
        if not isinstance(other, LDS):
            return NotImplemented
        sizes, arguments = sum_arguments(self, other)
        return LDS(*sizes, **arguments)

    def _describe(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        return describe(self)

    @classmethod
    def _restore(cls, record: dict[str, Any], tensors: dict[str, Tensor]) -> LDS:
        return restore(cls, record, tensors)

    def extra_repr(self) -> str:
        inputs = f", input_dim={self.input_dim}" if self.input_dim else ""
        return (
            f"latent_dim={self.latent_dim}, obs_dim={self.obs_dim}{inputs}, "
            f"initial={self.initial_kind!r}, learned={self.num_params}"
        )


_COVARIANCES = frozenset({"Q", "R", "initial_cov"})
_MOMENTS = ("initial_mean", "initial_cov")
_TRANSITION = frozenset({"A", "B", "b", "Q"})


def _shapes(n: int, m: int, p: int) -> dict[str, tuple[tuple[int, ...], tuple[str, ...]]]:
    return {
        "A": ((n, n), ("latent", "latent")),
        "B": ((n, p), ("latent", "input")),
        "b": ((n,), ("latent",)),
        "C": ((m, n), ("obs", "latent")),
        "D": ((m, p), ("obs", "input")),
        "d": ((m,), ("obs",)),
        "Q": ((n, n), ("latent", "latent")),
        "R": ((m, m), ("obs", "obs")),
        "initial_mean": ((n,), ("latent",)),
        "initial_cov": ((n, n), ("latent", "latent")),
    }


def _sizes(latent_dim: int, obs_dim: int, input_dim: int) -> tuple[int, int, int]:
    for name, size, least in (
        ("latent_dim", latent_dim, 0),
        ("obs_dim", obs_dim, 1),
        ("input_dim", input_dim, 0),
    ):
        if isinstance(size, bool) or not isinstance(size, int):
            raise InputTypeError(
                expected(name, "an integer", f"{type(size).__name__} {size!r}", "Give a size.")
            )
        if size < least:
            raise InputError(expected(name, f"at least {least}", str(size), "Give a size."))
    return latent_dim, obs_dim, input_dim


def _check_dtype(dtype: torch.dtype) -> None:
    if dtype not in (torch.float64, torch.float32):
        raise InputTypeError(
            expected("dtype", "torch.float64 or torch.float32", repr(dtype), "Use one of them.")
        )


def _one_device(given: dict[str, Any]) -> torch.device | None:
    """The device of the tensors that were given; refuses a mix."""
    devices: dict[torch.device, str] = {}
    for name, value in given.items():
        while isinstance(value, Param | Fixed | Varying):
            value = value.value
        if isinstance(value, Tensor):
            devices.setdefault(value.device, name)
    if len(devices) > 1:
        listed = ", ".join(f"{name} on {device}" for device, name in devices.items())
        raise InputError(
            expected("A, B, b, ...", "all on one device", listed, "Move them with .to(device).")
        )
    return next(iter(devices), None)
