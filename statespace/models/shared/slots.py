"""The named parameters of a model: where they are kept and how they read."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from statespace.errors import InputError, InputTypeError, expected
from statespace.gaussian import Gaussian
from statespace.parameters import CovarianceSlot, Declaration, Fixed, Param, Slot, Varying
from statespace.shapes import together

__all__ = [
    "MOMENTS",
    "Parameters",
    "Shapes",
    "check_dtype",
    "check_sizes",
    "make_slots",
    "one_device",
]

MOMENTS = ("initial_mean", "initial_cov")
COVARIANCES = frozenset({"Q", "R", "initial_cov"})
_TRANSITION = frozenset({"A", "B", "W", "b", "Q"})

Shapes = dict[str, tuple[tuple[int, ...], tuple[str, ...]]]  # of one value; a word for each axis

_NONE: Mapping[str, type[Slot]] = MappingProxyType({})


class Parameters:
    """Reads the slots of a model. What has no value yet is refused with a sentence."""

    slots: nn.ModuleDict
    kinds: tuple[str, ...]
    obs_dim: int
    input_dim: int

    @property
    def latent_dim(self) -> int:
        """n, the size of the state."""
        return int(self.slot("initial_mean").event[0])

    @property
    def initial_kind(self) -> str | list[str]:
        """How z_1 is treated, the argument `initial`: one word, or a list of one per state."""
        same = len(set(self.kinds)) == 1
        return self.kinds[0] if same else list(self.kinds)

    @property
    def dtype(self) -> torch.dtype:
        """Of all parameters."""
        return self.slot("initial_mean").held.dtype

    @property
    def device(self) -> torch.device:
        """Of all parameters."""
        return self.slot("initial_mean").held.device

    @property
    def ready(self) -> bool:
        """Whether every parameter has a value; without, the model can only be fitted."""
        return all(slot.is_set for _, slot in self._slots())

    @property
    def batch_shape(self) -> torch.Size:
        """Leading axes of the parameters: one model each."""
        return together(*(slot.batch_shape for _, slot in self._slots()))

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

    @property
    def num_idle(self) -> int:
        """Learned numbers of row 0 of what varies in the transition, which acts on nothing."""
        slots = [slot for name, slot in self._slots() if slot.varies and name in _TRANSITION]
        return sum(s.theta[..., 0, :].numel() for s in slots if s.theta is not None)

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

    def _moments(self) -> Gaussian:
        """p(z_1) of the two moments as they stand."""
        self._require(*MOMENTS)
        cov = self._covariance("initial_cov").covariance()
        return Gaussian(self.slot("initial_mean").value(), cov)

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


def make_slots(
    shapes: Shapes,
    given: dict[str, Declaration],
    dtype: torch.dtype,
    device: torch.device | None,
    kinds: Mapping[str, type[Slot]] = _NONE,
) -> nn.ModuleDict:
    """One slot for each parameter that is given; `kinds` are those with a slot of their own."""
    usual = dict.fromkeys(COVARIANCES, CovarianceSlot) | dict(kinds)
    slots = {
        name: usual.get(name, Slot)(name, event, axes, given[name], dtype=dtype, device=device)
        for name, (event, axes) in shapes.items()
        if name in given
    }
    return nn.ModuleDict(slots)


def check_sizes(latent_dim: int, obs_dim: int, input_dim: int, *, least_latent: int = 0) -> None:
    """Whole numbers, and at least one output."""
    for name, size, least in (
        ("latent_dim", latent_dim, least_latent),
        ("obs_dim", obs_dim, 1),
        ("input_dim", input_dim, 0),
    ):
        if isinstance(size, bool) or not isinstance(size, int):
            raise InputTypeError(
                expected(name, "an integer", f"{type(size).__name__} {size!r}", "Give a size.")
            )
        if size < least:
            raise InputError(expected(name, f"at least {least}", str(size), "Give a size."))


def check_dtype(dtype: torch.dtype) -> None:
    """Float64 or float32."""
    if dtype not in (torch.float64, torch.float32):
        raise InputTypeError(
            expected("dtype", "torch.float64 or torch.float32", repr(dtype), "Use one of them.")
        )


def one_device(given: dict[str, Any]) -> torch.device | None:
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
