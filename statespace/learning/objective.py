"""The objective as a function of one flat vector: log-likelihood plus log priors.

A learner knows a model by its parameters, its method's log-likelihood, and the slots in which
named parameters live. Everything that is learned is laid side by side in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn

from statespace.errors import InputError, NumericalError
from statespace.interface import Maximisable
from statespace.interface.randomness import clone, lend
from statespace.learning.scales import own_sizes
from statespace.parameters import CovarianceSlot, Slot
from statespace.sequences import Sequences

__all__ = ["Objective", "fits_as", "log_prior", "perturbed", "slots_of", "started"]


def slots_of(model: nn.Module) -> list[tuple[str, Slot]]:
    """Every slot inside a model with its path, in order."""
    return [(path, m) for path, m in model.named_modules() if isinstance(m, Slot)]


def log_prior(model: nn.Module) -> Tensor | float:
    """The log priors of all slots, summed; 0 without any."""
    parts = [slot.log_prior().sum() for _, slot in slots_of(model) if slot.prior is not None]
    return torch.stack(parts).sum() if parts else 0.0


class Objective:
    """log p(y) + log priors at a point; -inf where the model refuses the point.

    Random methods are asked with the same random numbers at every point, so that points can be
    compared.
    """

    def __init__(
        self,
        model: Any,
        method: Any,
        data: Sequences,
        generator: Generator,
        modes: Sequence[Mode] = (),
    ) -> None:
        self.model, self.method, self.data, self.modes = model, method, data, modes
        self.origin = clone(generator)  # of the random numbers
        self.parameters = [p for p in model.parameters() if p.requires_grad]

    @property
    def size(self) -> int:
        """How many numbers are learned."""
        return sum(p.numel() for p in self.parameters)

    @property
    def eps(self) -> float:
        """The coarsest precision among what is learned."""
        return max((torch.finfo(p.dtype).eps for p in self.parameters), default=1e-16)

    def rounding(self, value: float) -> float:
        """By how much a value may be off for the precision of the parameters alone."""
        return 8 * self.eps * max(abs(value), float(self.data.n_values.sum()))

    def read(self) -> Tensor:
        """The point at which the model is, (P,) float64."""
        if not self.parameters:
            return torch.zeros(0, dtype=torch.float64)
        return torch.cat([p.detach().flatten().double() for p in self.parameters])

    def write(self, x: Tensor) -> None:
        """Puts the model at a point."""
        with torch.no_grad():
            for p, part in zip(
                self.parameters, x.split([p.numel() for p in self.parameters]), strict=True
            ):
                p.copy_(part.view_as(p))

    def sizes(self) -> Tensor:
        """Own sizes of what lives in slots, ones elsewhere, (P,)."""
        known = {id(s.theta): own_sizes(s) for _, s in slots_of(self.model) if s.theta is not None}
        parts = [
            known[id(p)].flatten() if id(p) in known else torch.ones(p.numel()).to(p).double()
            for p in self.parameters
        ]
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)

    def roots(self) -> Tensor:
        """Which numbers are of a covariance's root, (P,) bool."""
        slots = [s for _, s in slots_of(self.model) if isinstance(s, CovarianceSlot)]
        inside = {id(s.theta) for s in slots}
        parts = [torch.full((p.numel(),), id(p) in inside) for p in self.parameters]
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.bool)

    def tensor(self) -> Tensor:
        """At the model's own point, with its graph."""
        with lend(clone(self.origin)) as generator:
            log = self.method.log_likelihood(self.model, self.data, generator)
        return log.double().sum() + log_prior(self.model)

    def value(self, x: Tensor) -> float:
        """At a point, where the model is left."""
        self.write(x)
        try:
            with torch.no_grad():
                value = float(self.tensor())
        except (InputError, NumericalError):
            return -math.inf
        return value if not math.isnan(value) else -math.inf

    def gradient(self, x: Tensor) -> tuple[float, Tensor | None]:
        """Value and gradient at a point, where the model is left; None where there is none."""
        self.write(x)
        if not self.parameters:
            return self.value(x), x
        try:
            with torch.enable_grad():
                value = self.tensor()
            if not math.isfinite(float(value.detach())):
                return -math.inf, None
            grads = torch.autograd.grad(value, self.parameters, allow_unused=True)
        except (InputError, NumericalError):  # such a point cannot be taken: no step goes there
            return -math.inf, None
        parts = [
            torch.zeros_like(p) if g is None else g
            for p, g in zip(self.parameters, grads, strict=True)
        ]
        gradient = torch.cat([g.flatten().double() for g in parts])
        return (
            (float(value.detach()), gradient)
            if bool(torch.isfinite(gradient).all())
            else (-math.inf, None)
        )


def perturbed(objective: Objective, first: Tensor, generator: Generator) -> Tensor:
    """A start near the first one, half a size away, at which the objective is finite."""
    objective.write(first)
    sizes = objective.sizes()
    noise = torch.randn(first.shape, dtype=first.dtype, generator=generator).to(first)
    for k in range(20):
        point = first + 0.5 ** (k + 1) * sizes * noise
        if math.isfinite(objective.value(point)):
            return point
    return first


Mode = Callable[[bool], AbstractContextManager[None]]

_MODES: ContextVar[list[Mode] | None] = ContextVar(
    "modes of the fit that is beginning", default=None
)


def fits_as(mode: Mode) -> None:
    """For `start_values` of a model: be inside `mode(True)` until this fit ends.

    And inside `mode(False)` whenever its likelihood is looked at again (standard errors).

    Args:
        mode: Makes a context; its argument says whether the model keeps what was found at its
            end. Outside a fit nothing happens.
    """
    modes = _MODES.get()
    if modes is not None:
        modes.append(mode)


@contextmanager
def started(model: Any, data: Sequences, generator: Generator) -> Iterator[Started]:
    """Gives a model its start values, and says what is not learned in this fit.

    Where the data cannot tell a parameter at all, `start_values` takes `requires_grad` from it;
    it is given back afterwards.
    """
    asked = {id(p) for p in model.parameters() if not p.requires_grad}
    modes: list[Mode] = []
    token = _MODES.set(modes)
    try:
        if isinstance(model, Maximisable):
            model.start_values(data, generator)
    finally:
        _MODES.reset(token)
    held = [p for p in model.parameters() if not p.requires_grad and id(p) not in asked]
    names = [slot.name for _, slot in slots_of(model) if any(slot.theta is p for p in held)]
    try:
        with ExitStack() as stack:
            for mode in modes:
                stack.enter_context(mode(True))
            yield Started(names, modes)
    finally:
        for p in held:
            p.requires_grad_(True)


class Started(NamedTuple):
    """What a beginning fit is told: names of what it does not learn, and the model's modes."""

    held: list[str]
    modes: list[Mode]
