"""What the methods of amortised models share: a guide, and particles to filter with."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from statespace.beliefs import Real, Tree, map_space
from statespace.inference.particle import ParticleFilter
from statespace.inference.particle.select import Selection
from statespace.inference.particle.stochastic import ParticleBelief
from statespace.inference.variational.monitor import divergence
from statespace.interface import Amortised, Filter, Info, Row, State
from statespace.interface.walking import Moment
from statespace.results import Filtered, Forecast
from statespace.sequences import Sequences

__all__ = ["GuidedMethod", "all_real", "stepped_weights"]

_FEWEST = 100  # particles of a filter, however few samples a bound takes


def all_real(space: Any) -> bool:
    """Whether z is made of vectors alone."""
    found: list[bool] = []
    map_space(lambda part: found.append(isinstance(part, Real)), space)
    return all(found)


class GuidedMethod(Filter):
    """Serves a model with a guide.

    `filter`, `forecast` and `step` go by particles, proposed by the guide where it is causal and
    by the prior where it sees the future: a filter never looks ahead.
    """

    serves: ClassVar[Any] = Amortised

    @property
    @abstractmethod
    def _count(self) -> int:
        """Samples behind a bound."""

    def refusal(self, model: Any, data: Sequences | None) -> str | None:
        """A state that is finite, in whole or in part: a draw of it has no derivative."""
        reason = super().refusal(model, data)
        if reason is None and not all_real(model.latent):
            return (
                f"{type(self).__name__} differentiates through draws of z, and that of "
                f"{type(model).__name__} is {model.latent}. Methods that can: ParticleFilter."
            )
        return reason

    def num_samples(self, model: Any) -> int:
        """Samples behind a bound."""
        return self._count

    def _filter(self, model: Any) -> ParticleFilter:
        proposal = model.guide if model.guide.causal else "bootstrap"
        return ParticleFilter(max(self._count, _FEWEST), proposal=proposal)

    def monitor(self, model: Any, data: Sequences, generator: Generator) -> Mapping[str, Any]:
        """The guide's divergence from the prior; nothing where a missing y feeds the memory."""
        drawn = "y" in model.reads and not data.complete
        return {} if drawn else divergence(model, data, generator)

    def start(
        self, model: Any, batch_shape: Sequence[int], condition: Tree, generator: Generator
    ) -> State:
        """Particles that have seen nothing."""
        return self._filter(model).start(model, batch_shape, condition, generator)

    def step(self, model: Any, state: State, row: Row) -> tuple[State, Info]:
        """One row, by particles."""
        return self._filter(model).step(model, state, row)

    def scan(
        self, model: Any, data: Sequences, generator: Generator, state: State | None = None
    ) -> Filtered:
        """All rows, by particles."""
        return self._filter(model).scan(model, data, generator, state)

    def scan_keeping(
        self, model: Any, data: Sequences, generator: Generator, state: State | None, keep: str
    ) -> Filtered:
        """All rows, by particles."""
        return self._filter(model).scan_keeping(model, data, generator, state, keep)

    def draws(
        self, model: Any, state: State, num: int, generator: Generator
    ) -> tuple[Tree, Tree, Tensor]:
        """Independent joint draws of (z, memory, y)."""
        return self._filter(model).draws(model, state, num, generator)

    def forecast(
        self,
        model: Any,
        state: State,
        inputs: Tensor,
        num_samples: int | None,
        generator: Generator,
    ) -> Forecast:
        """The particles run on freely, by the prior."""
        return self._filter(model).forecast(model, state, inputs, num_samples, generator)

    def _moment(self, model: Any, state: State, num: int, generator: Generator) -> Moment:
        """Draws of where a state stands."""
        z, memory, y = self._filter(model).draws(model, state, num, generator)
        return Moment(state.t, z, memory, y)


def stepped_weights(
    model: Any, data: Sequences, num: int, generator: Generator, state: State | None
) -> Tensor:
    """The log of p(y, z) / q(z) of K paths that are never selected, (K, *batch), row by row.

    Missing entries that the memory reads are drawn on the way.
    """
    how = Selection(model.guide, "systematic", 0.0, pathwise=True)
    particles = ParticleFilter(num, proposal=model.guide)
    at = particles.start(model, data.batch_shape, data.condition, generator)
    if state is not None:
        even: Any = at.belief
        z, memory, y = particles.draws(model, state, num, generator)
        belief = ParticleBelief(z, even.log_weights, model.latent, carried=True)
        at = replace(at, t=state.t, belief=belief, memory=memory, y=y, guide=state.guide)
    total = torch.zeros(data.batch_shape, dtype=model.dtype, device=model.device)
    for _, moved in particles.walk(model, data, at, how):
        at, total = moved.state, total + moved.increment
    found: Any = at.belief
    weights: Tensor = found.log_weights + total + math.log(num)
    return weights
