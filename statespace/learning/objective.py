"""The objective as a function of one flat vector: log-likelihood plus log priors.

A learner knows a model by its parameters, its method's log-likelihood, and the slots in which
named parameters live. Everything that is learned is laid side by side in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn

from statespace.errors import InputError, MethodError, NumericalError
from statespace.interface.methods import Repeated
from statespace.interface.randomness import clone, lend
from statespace.learning.scales import own_sizes
from statespace.parameters import CovarianceSlot, Slot
from statespace.sequences import Sequences

__all__ = ["Objective", "fits_as", "log_prior", "perturbed", "restricted", "slots_of", "started"]


def slots_of(model: nn.Module) -> list[tuple[str, Slot]]:
    """Every slot inside a model with its path, in order."""
    return [(path, m) for path, m in model.named_modules() if isinstance(m, Slot)]


def log_prior(model: nn.Module) -> Tensor | float:
    """The log priors of all slots, summed; 0 without any."""
    return _log_prior(slot for _, slot in slots_of(model))


def _log_prior(slots: Iterable[Slot]) -> Tensor | float:
    parts = [slot.log_prior().sum() for slot in slots if slot.prior is not None]
    return torch.stack(parts).sum() if parts else 0.0


def restricted(model: nn.Module) -> bool:
    """Whether no matrix of coefficients is learned as a whole, as in structural models."""
    slots = [s for _, s in slots_of(model) if not isinstance(s, CovarianceSlot)]
    return not any(s.pattern.plain and s.n_free and len(s.event) == 2 for s in slots)


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
        reason = method.refusal(model, data)  # the model may have got its first values just now
        if reason is not None:
            raise MethodError(reason)
        self.model, self.method, self.data, self.modes = model, method, data, modes
        self.origin = clone(generator)  # of the random numbers
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self._slots = [slot for _, slot in slots_of(model)]
        self._last: tuple[Tensor, float, Tensor] | None = None  # x, value, gradient

    @cached_property
    def _repeated(self) -> Repeated | None:
        found: Repeated | None = self.method.repeated(self.model, self.data)
        return found

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
        known = {id(s.theta): own_sizes(s) for s in self._slots if s.theta is not None}
        parts = [
            known[id(p)].flatten() if id(p) in known else torch.ones(p.numel()).to(p).double()
            for p in self.parameters
        ]
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)

    def roots(self) -> Tensor:
        """Which numbers are of a covariance's root, (P,) bool."""
        slots = [s for s in self._slots if isinstance(s, CovarianceSlot)]
        inside = {id(s.theta) for s in slots}
        parts = [torch.full((p.numel(),), id(p) in inside) for p in self.parameters]
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.bool)

    def tensor(self) -> Tensor:
        """At the model's own point, with its graph."""
        with lend(clone(self.origin)) as generator:
            log = self.method.log_likelihood(self.model, self.data, generator)
        return log.double().sum() + _log_prior(self._slots)

    def value(self, x: Tensor) -> float:
        """At a point, where the model is left."""
        self.write(x)
        if self._last is not None and torch.equal(self._last[0], x):
            return self._last[1]
        try:
            with torch.no_grad():
                short = None if self._repeated is None else self._repeated.value()
                value = float(self.tensor() if short is None else short + _log_prior(self._slots))
        except (InputError, NumericalError):
            return -math.inf
        return value if not math.isnan(value) else -math.inf

    def gradient(self, x: Tensor) -> tuple[float, Tensor | None]:
        """Value and gradient at a point, where the model is left; None where there is none."""
        self.write(x)
        if not self.parameters:
            return self.value(x), x
        if self._last is not None and torch.equal(self._last[0], x):
            return self._last[1:]
        try:
            found = self._at_once() or self._by_graph(self.tensor)
        except (InputError, NumericalError):  # such a point cannot be taken: no step goes there
            return -math.inf, None
        value, gradient = found
        if not math.isfinite(value) or not bool(torch.isfinite(gradient).all()):
            return -math.inf, None
        if self._repeated is not None:  # climbs one after the other begin where the last one ended
            self._last = x.clone(), value, gradient
        return value, gradient

    def _at_once(self) -> tuple[float, Tensor] | None:
        """The method's short way, if it has one that serves here."""
        short = None if self._repeated is None else self._repeated.gradient(self.parameters)
        if short is None:
            return None
        value, gradient = short[0], torch.from_numpy(short[1])
        if any(slot.prior is not None for slot in self._slots):
            prior, more = self._by_graph(lambda: _log_prior(self._slots))
            value, gradient = value + prior, gradient + more
        return value, gradient

    def _by_graph(self, function: Callable[[], Any]) -> tuple[float, Tensor]:
        """Value and gradient of a function at the model's own point."""
        with torch.enable_grad():
            tensor = function()
        value = float(tensor.detach())
        if not math.isfinite(value):
            return value, torch.zeros(self.size, dtype=torch.float64)
        grads = torch.autograd.grad(tensor, self.parameters, allow_unused=True)
        parts = [
            torch.zeros_like(p) if g is None else g
            for p, g in zip(self.parameters, grads, strict=True)
        ]
        return value, torch.cat([g.flatten().double() for g in parts])


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
