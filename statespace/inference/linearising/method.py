"""What all linearising methods have in common: all of a `Filter` but the rules."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Generator, Size, Tensor
from torch.distributions import Distribution

from statespace.beliefs import Tree
from statespace.densities import GaussianRoot
from statespace.gaussian import Gaussian
from statespace.inference.kalman import Kalman
from statespace.inference.linearising import compiled
from statespace.inference.linearising.ahead import forecast
from statespace.inference.linearising.linear import linear, network
from statespace.inference.linearising.loop import Linearised, Passed, Plan, run
from statespace.inference.linearising.reading import moments_of
from statespace.inference.linearising.refusing import refusal
from statespace.inference.linearising.smoothing import filtered, smoothed
from statespace.inference.linearising.task import Task, bare, last_read, rows_of, starting, task
from statespace.interface import Context, Filter, GaussianLatent, Info, Kind, Network, Row, State
from statespace.interface.methods import Repeated
from statespace.linalg import Covariance, tria
from statespace.results import Filtered, Forecast, Smoothed
from statespace.sequences import Sequences

__all__ = ["Linearising"]

_EXACT = Kalman()


class Linearising(Filter):
    """A Gaussian filter that makes every row linear, and a smoother of the rows that it made.

    A model that is linear is given to `Kalman`, whatever the rule.
    """

    serves: ClassVar[Any] = GaussianLatent
    forecast_kind: ClassVar[Kind] = "approximate"
    asks_moments: ClassVar[bool] = True  # mean and covariance of y given z

    @property
    @abstractmethod
    def _plan(self) -> Plan:
        """How rows are linearised."""

    def kind(self, model: Any, data: Sequences, state: State | None = None) -> Kind:
        """Exact where the model is linear."""
        return "approximate" if linear(model) is None else "exact"

    def refusal(self, model: Any, data: Sequences | None) -> str | None:
        """A memory that reads z, a diffuse start, a family without moments."""
        reason = super().refusal(model, data)
        return refusal(self, model, data) if reason is None else reason

    def start(
        self, model: Any, batch_shape: Sequence[int], condition: Tree, generator: Generator
    ) -> State:
        """The belief about z_1 before any data."""
        exact = linear(model)
        if exact is not None:
            return _EXACT.start(exact, batch_shape, condition, generator)
        return replace(starting(model, Size(batch_shape), condition), generator=generator)

    def step(self, model: Any, state: State, row: Row) -> tuple[State, Info]:
        """Absorb one row."""
        exact = linear(model)
        if exact is not None:
            return _EXACT.step(exact, state, row)
        rows = rows_of(row)
        at = task(model, rows, state)
        with torch.no_grad():
            p = self._moments(model, at)
        ends = last_read(model, rows, state)
        new = State(state.t + 1, p.end, at.memory, ends, state.generator)
        before = _shown(p.predicted_mean[..., 0, :], p.predicted_cov[..., 0, :, :])
        of_y = [None if x is None else x.select(len(at.batch), 0) for x in (p.y_mean, p.y_cov)]
        info = Info(before, p.end, p.increments[..., 0], *of_y)
        return new, info

    def scan(
        self, model: Any, data: Sequences, generator: Generator, state: State | None = None
    ) -> Filtered:
        """All rows in one pass."""
        exact = linear(model)
        if exact is not None:
            return _EXACT.scan(exact, data, generator, state)
        state = self._begun(model, data, generator, state)
        rows = rows_of(data)
        with torch.no_grad():
            at = task(model, rows, state)
            found = self._moments(model, at)
        ends = last_read(model, rows, state)
        end = State(state.t + data.T, found.end, at.memory, ends, generator)
        return filtered(model, "approximate", data, found, end)

    def log_likelihood(
        self, model: Any, data: Sequences, generator: Generator, state: State | None = None
    ) -> Tensor:
        """(*batch,), differentiable: through the points of linearisation too."""
        exact = linear(model)
        if exact is not None:
            return _EXACT.log_likelihood(exact, data, generator, state)
        at = task(model, rows_of(data), self._begun(model, data, generator, state))
        net = self._network(model, at)
        found = None if net is None else compiled.log_likelihood(net, self._plan, at)
        return run(model, self._plan, at)[0].sum(-1) if found is None else found

    def smooth(
        self, model: Any, data: Sequences, generator: Generator, state: State | None = None
    ) -> Smoothed:
        """Moments of every z_t given all of y, and joint draws, of the linearised rows."""
        return self.smooth_keeping(model, data, generator, state, "all")

    def smooth_keeping(
        self, model: Any, data: Sequences, generator: Generator, state: State | None, keep: str
    ) -> Smoothed:
        """Without the covariances that are not kept."""
        exact = linear(model)
        if exact is not None:
            return _EXACT.smooth_keeping(exact, data, generator, state, keep)
        with torch.no_grad():
            at = task(model, rows_of(data), self._begun(model, data, generator, state))
            net = self._network(model, at)
            found = None if net is None else compiled.smooth(net, self._plan, at, keep)
            return smoothed("approximate", data, lambda: self._rows(model, at), at, keep, found)

    def forecast(
        self,
        model: Any,
        state: State,
        inputs: Tensor,
        num_samples: int | None,
        generator: Generator,
    ) -> Forecast:
        """Moments by the rule, of rows in which nothing is seen; draws run on in the model."""
        exact = linear(model)
        if exact is not None:
            return _EXACT.forecast(exact, state, inputs, num_samples, generator)
        found = None
        if "y" not in model.reads:  # else what comes into the memory is drawn
            found = forecast(self, model, state, inputs, num_samples, generator, self._moments)
        if found is None:
            return super().forecast(model, state, inputs, num_samples, generator)
        return found

    def propose(
        self, model: Any, z: Tree, ctx: Context, row: Row, prior: Distribution
    ) -> Distribution:
        """p(z_t | z_{t-1} = z, y_t) with the emission linearised about each particle's prior."""
        n = model.latent.size
        with torch.no_grad():
            mean, root = moments_of(prior, prior.batch_shape, n, "transition")
            root = tria(root).expand(*mean.shape, n)
            y = row.y.expand(*mean.shape[:-1], model.obs_dim)
            found = self._plan.absorb(model, ctx, mean, root, y, row.observed.expand(y.shape))
        return GaussianRoot(found.mean, found.root)

    def repeated(self, model: Any, data: Sequences) -> Repeated | None:
        """That of `Kalman`, where the model is linear."""
        exact = linear(model)
        return None if exact is None else _EXACT.repeated(exact, data)

    def sums(self, model: Any, data: Sequences) -> tuple[Tensor, Any] | None:
        """That of `Kalman`, where the model is linear."""
        exact = linear(model)
        return None if exact is None else _EXACT.sums(exact, data)

    def _begun(
        self, model: Any, data: Sequences, generator: Generator, state: State | None
    ) -> State:
        if state is not None:
            return state
        return bare(model, data.batch_shape, data.condition, generator)

    def _network(self, model: Any, at: Task) -> Network | None:
        """What compiled loops are asked with; None where they are not asked."""
        plain = type(model).residual is GaussianLatent.residual and not model.reads
        return network(model, at.before) if plain and type(self._plan) is Plan else None

    def _moments(self, model: Any, at: Task) -> Passed:
        """Filtered moments, compiled where that serves."""
        net = self._network(model, at)
        found = None if net is None else compiled.moments(net, self._plan, at)
        found = run(model, self._plan, at, moments=True)[1] if found is None else found
        assert found is not None
        return found

    def _rows(self, model: Any, at: Task) -> Linearised:
        """The rows as the filter linearises them."""
        with torch.no_grad():
            found = run(model, self._plan, at, rows=True)[2]
        assert found is not None
        return found


def _shown(mean: Tensor, cov: Tensor) -> Gaussian:
    return Gaussian(mean, Covariance(cov, cov.new_zeros(*cov.shape[:-1], 0)))
