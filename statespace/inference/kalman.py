"""The Kalman filter and smoother, exact for every linear-Gaussian model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from statespace.beliefs import Belief
from statespace.gaussian import AffineConditional, Gaussian
from statespace.inference.lineargaussian import (
    Start,
    System,
    filter_moments,
    forward,
    log_likelihood,
    smooth,
    start,
)
from statespace.inference.lineargaussian.delta import solve
from statespace.inference.lineargaussian.likelihood import check_finite, total
from statespace.inference.lineargaussian.moments import with_delta
from statespace.inference.lineargaussian.simulate import posterior_draws, simulate
from statespace.interface import Context, Filter, Info, LinearGaussian, Row, State
from statespace.linalg import Covariance, lq
from statespace.results import Filtered, Forecast, Smoothed
from statespace.sequences import Sequences

__all__ = ["Kalman", "KalmanBelief"]


@dataclass(frozen=True)
class KalmanBelief(Belief):
    """p(z_t | y up to t) = N(x [1; delta], S S'), delta as far as the data have resolved it.

    Attributes:
        x: (*batch, n, 1 + k), the mean and its columns; k = 0 once everything is resolved.
        s: (*batch, n, n).
        rows: (*batch, k + 1, k + 1), what is known of delta.
    """

    x: Tensor
    s: Tensor
    rows: Tensor

    @property
    def mean(self) -> Tensor:
        """(*batch, n)."""
        return with_delta(self.x, self.s, solve(self.rows))[0]

    @property
    def cov(self) -> Tensor:
        """(*batch, n, n); inf along directions that nothing has resolved."""
        return with_delta(self.x, self.s, solve(self.rows))[1]

    def sample(self, shape: Sequence[int], generator: Generator | None = None) -> Tensor:
        """Draws, (*shape, *batch, n)."""
        proper = self.collapsed()
        return Gaussian(proper.x[..., 0], Covariance.from_root(proper.s)).sample(shape, generator)

    def collapsed(self) -> KalmanBelief:
        """The same belief without columns, where delta is resolved; itself elsewhere."""
        known = solve(self.rows)
        if self.x.shape[-1] == 1 or bool((known.blind != 0).any()):
            return self
        mean, _ = with_delta(self.x, self.s, known)
        wide = self.x[..., 1:] @ known.root
        lead = torch.broadcast_shapes(self.s.shape[:-2], wide.shape[:-2])
        both = torch.cat([v.expand(*lead, *v.shape[-2:]) for v in (self.s, wide)], -1)
        return KalmanBelief(mean[..., None], lq(both), torch.zeros_like(self.rows[..., :1, :1]))

    def where(self, active: Tensor, old: Belief) -> KalmanBelief:
        """This one where `active` (*batch,), the old one elsewhere."""
        if not isinstance(old, KalmanBelief) or old.x.shape[-1] != self.x.shape[-1]:
            raise TypeError("a Kalman belief stands still as one of the same number of columns")
        pick = active[..., None, None]
        pairs = zip((self.x, self.s, self.rows), (old.x, old.s, old.rows), strict=True)
        return KalmanBelief(*(torch.where(pick, a, b) for a, b in pairs))

    @classmethod
    def stack(cls, beliefs: Sequence[Belief]) -> Belief:
        """T of them as one Gaussian, T just left of the event."""
        means = torch.stack([b.mean for b in beliefs], -2)
        covs = torch.stack([b.cov for b in beliefs], -3)
        return Gaussian(means, Covariance(covs, covs.new_zeros(*covs.shape[:-1], 0)))


@dataclass(frozen=True)
class _Problem:
    """One call: the system over the rows asked for, with a row in front where it continues."""

    system: System
    begin: Start
    y: Tensor
    observed: Tensor
    active: Tensor
    skip: int  # rows in front that are not the caller's


class Kalman(Filter):
    """Exact filtering, smoothing, forecasts and likelihood of a linear-Gaussian model.

    Square-root (array) form throughout; exact diffuse start by augmentation (De Jong 1991);
    smoothing and the score by the backward recursion r_t, N_t (Koopman and Shephard 1992). See
    `docs/numerics.md`.

    Example:
        >>> import statespace as ss
        >>> y = ss.datasets.nile()
        >>> level = ss.LDS(1, 1, A=[[1.0]], C=[[1.0]], Q=[[1469.1]], R=[[15099.0]],
        ...                initial="diffuse")
        >>> round(float(level.log_likelihood(y, method=ss.Kalman())), 7)
        -633.4645636
    """

    serves: ClassVar[type] = LinearGaussian

    def kind(self, model: Any, data: Sequences) -> str:
        """Always exact."""
        return "exact"

    def start(
        self, model: Any, batch_shape: Sequence[int], condition: Any, generator: Generator
    ) -> State:
        """The belief about z_1 before any data."""
        none = torch.zeros(*batch_shape, 1, model.input_dim, **_like(model))
        begin = start(system_of(model, none, 0).detach())
        belief = KalmanBelief(
            *(v.expand(*batch_shape, *v.shape[-2:]) for v in (begin.x, begin.s, begin.rows))
        )
        return State(0, belief, (), none[..., 0, :0], generator)

    def step(self, model: Any, state: State, row: Row) -> tuple[State, Info]:
        """Absorb one row."""
        t_axis = -2
        data = _Rows(
            row.y.unsqueeze(t_axis), row.observed.unsqueeze(t_axis), row.active[..., None], row.u
        )
        problem = _problem(model, data, state)
        with torch.no_grad():
            run = forward(problem.system, problem.begin, problem.y, problem.observed, problem.active)
            check_finite(run)
            out = filter_moments(run, problem.system, diffuse_constant=model.diffuse_constant)
        old = state.belief
        new = KalmanBelief(run.xf[-1], run.sf[-1].expand_as(run.xf[-1] @ run.xf[-1].mT), out.rows[-1])
        if not bool(row.active.all()):
            new = new.where(row.active, old)
        predicted = _moments(out.predicted_mean[-1], out.predicted_cov[-1])
        belief = _moments(out.mean[-1], out.cov[-1])
        info = Info(predicted, belief, torch.where(row.active, out.increments[-1], 0.0))
        return State(state.t + 1, new.collapsed(), (), state.y, state.generator), info

    def scan(
        self, model: Any, data: Sequences, generator: Generator, state: State | None = None
    ) -> Filtered:
        """The whole series in one pass."""
        problem = _problem(model, _rows_of(data), state)
        with torch.no_grad():
            run = forward(problem.system, problem.begin, problem.y, problem.observed, problem.active)
            check_finite(run)
            out = filter_moments(run, problem.system, diffuse_constant=model.diffuse_constant)
            value, _ = total(run, diffuse_constant=model.diffuse_constant)
        k = problem.skip
        mean, y_mean = (v[k:].movedim(0, -2) for v in (out.mean, out.y_mean))
        last = (data.lengths - 1 + k).clamp_min(0)
        belief = KalmanBelief(
            _pick(run.xf, last), _pick(run.sf.expand(*out.cov.shape), last), _pick(out.rows, last)
        )
        t = (state.t if state is not None else 0) + data.T
        increments = out.increments[k:].movedim(0, -1)
        increments = torch.where(data.active, increments, torch.zeros_like(increments))
        nan = torch.full_like(y_mean, torch.nan)
        return Filtered(
            mean=mean,
            cov=out.cov[k:].movedim(0, -3),
            predicted_mean=out.predicted_mean[k:].movedim(0, -2),
            predicted_cov=out.predicted_cov[k:].movedim(0, -3),
            y_mean=y_mean,
            y_cov=out.y_cov[k:].movedim(0, -3),
            innovations=torch.where(data.observed, data.values - y_mean, nan),
            increments=increments,
            log_likelihood=value,
            kind="exact",
            state=State(t, belief.collapsed(), (), data.values[..., -1, :0], generator),
            lengths=data.lengths,
            index=data.index,
            univariate=data.univariate,
        )

    def log_likelihood(
        self, model: Any, data: Sequences, generator: Generator, state: State | None = None
    ) -> Tensor:
        """log p(y), (*batch,), differentiable."""
        p = _problem(model, _rows_of(data), state, graph=True)
        begin = None if state is None else p.begin
        constant = model.diffuse_constant
        return log_likelihood(
            p.system, p.y, p.observed, p.active, diffuse_constant=constant, begin=begin
        )

    def smooth(
        self, model: Any, data: Sequences, generator: Generator, state: State | None = None
    ) -> Smoothed:
        """Moments of every z_t given all of y, and joint draws."""
        p = _problem(model, _rows_of(data), state)
        with torch.no_grad():
            run = forward(p.system, p.begin, p.y, p.observed, p.active)
            check_finite(run)
            value, known = total(run, diffuse_constant=model.diffuse_constant)
            out = smooth(run, p.system, known, p.y.movedim(-2, 0))
        k = p.skip
        whole = out.mean.movedim(0, -2)

        def draw(num: int, generator: Generator) -> Tensor:
            with torch.no_grad():
                z = posterior_draws(p.system, p.begin, whole, p.observed, p.active, num, generator)
            return z[..., k:, :]

        return Smoothed(
            mean=whole[..., k:, :],
            cov=out.cov[k:].movedim(0, -3),
            cross_cov=out.cross_cov[k:].movedim(0, -3),
            y_mean=out.y_mean[k:].movedim(0, -2),
            y_cov=out.y_cov[k:].movedim(0, -3),
            log_likelihood=value,
            kind="exact",
            lengths=data.lengths,
            sampler=draw,
            index=data.index,
            univariate=data.univariate,
            repairs=out.clipped,
        )

    def forecast(
        self,
        model: Any,
        state: State,
        inputs: Tensor,
        num_samples: int | None,
        generator: Generator,
        index: Any = None,
        univariate: bool = False,
    ) -> Forecast:
        """Exact moments of the rows after a state: filtering rows in which nothing is seen."""
        horizon = inputs.shape[-2]
        shape = (*inputs.shape[:-1], model.obs_dim)
        y = inputs.new_zeros(shape)
        unseen = torch.zeros(shape, dtype=torch.bool, device=y.device)
        on = torch.ones(shape[:-1], dtype=torch.bool, device=y.device)
        p = _problem(model, _Rows(y, unseen, on, inputs), state)
        with torch.no_grad():
            run = forward(p.system, p.begin, p.y, p.observed, p.active)
            check_finite(run)
            out = filter_moments(run, p.system)
        k = p.skip

        def draw(num: int, generator: Generator) -> Tensor:
            lead = torch.Size((num, *shape[:-2]))
            with torch.no_grad():
                return simulate(p.system, p.begin, lead, horizon + k, generator)[1][..., k:, :]

        return Forecast(
            mean=out.y_mean[k:].movedim(0, -2),
            cov=out.y_cov[k:].movedim(0, -3),
            z_mean=out.mean[k:].movedim(0, -2),
            z_cov=out.cov[k:].movedim(0, -3),
            kind="exact",
            sampler=draw,
            index=index,
            univariate=univariate,
        )


@dataclass(frozen=True)
class _Rows:
    y: Tensor  # (*batch, T, m)
    observed: Tensor
    active: Tensor  # (*batch, T)
    u: Tensor  # (*batch, [T,] p)


def _rows_of(data: Sequences) -> _Rows:
    return _Rows(data.values, data.observed, data.active, data.inputs)


def _like(model: Any) -> dict[str, Any]:
    some = next(iter(model.parameters()), None)
    some = next(iter(model.buffers())) if some is None else some
    return {"dtype": some.dtype, "device": some.device}


def _moments(mean: Tensor, cov: Tensor) -> Gaussian:
    return Gaussian(mean, Covariance(cov, cov.new_zeros(*cov.shape[:-1], 0)))


def _pick(x: Tensor, last: Tensor) -> Tensor:
    """Row `last` (*batch,) of x (T, *batch, ...)."""
    if last.dim() == 0:
        return x[last]
    index = last.reshape(1, *last.shape, *(1,) * (x.dim() - 1 - last.dim()))
    return x.take_along_dim(index, 0)[0]


def _problem(model: Any, rows: _Rows, state: State | None, *, graph: bool = False) -> _Problem:
    u = rows.u if rows.u.dim() == rows.y.dim() else rows.u.unsqueeze(-2)
    first = 0 if state is None else state.t
    system = system_of(model, u, first)
    held = system.detach()
    system = system if graph else held
    y, observed, active = rows.y, rows.observed, rows.active
    if state is None or state.t == 0:
        if state is None:
            begin = start(held)
        else:
            begin = Start(state.belief.x, state.belief.s, state.belief.rows)
        return _Problem(system, begin, y, observed, active, 0)
    begin = Start(state.belief.x, state.belief.s, state.belief.rows)
    front = torch.zeros_like
    y = torch.cat([front(y[..., :1, :]), y], -2)
    observed = torch.cat([front(observed[..., :1, :]), observed], -2)
    active = torch.cat([~front(active[..., :1]), active], -1)
    return _Problem(_with_front(system), begin, y, observed, active, 1)


def _with_front(system: System) -> System:
    """A row before the first, at which the state stands; what it says is never used."""

    def double(x: Tensor, axis: int) -> Tensor:
        return torch.cat([x.narrow(axis, 0, 1), x], axis)

    parts: dict[str, Any] = {}
    for name in "AbQCdR":
        value = getattr(system, name)
        if name in system.varies:
            axis = -2 if name in "bd" else -3
            change = partial(double, axis=axis)
            value = value.map(change) if isinstance(value, Covariance) else change(value)
        parts[name] = value
    return System(**parts, prior=system.prior, varies=system.varies)


def system_of(model: Any, inputs: Tensor, first: int) -> System:
    """The arrays of a linear-Gaussian model over rows first, first + 1, ..., inputs (*, T, p)."""
    t = torch.arange(first, first + inputs.shape[-2], device=inputs.device)
    ctx = Context(t, inputs, inputs.new_zeros(*inputs.shape[:-1], 0))
    once = Context(t[0], inputs[..., 0, :], ctx.h[..., 0, :])
    moves: AffineConditional = model.dynamics(ctx)
    reads: AffineConditional = model.readout(ctx)
    names = {"weight": "AC", "bias": "bd", "noise": "QR"}
    varies = {names[v][i] for i, part in enumerate((moves, reads)) for v in part.varies}
    return System(
        moves.weight,
        moves.bias,
        moves.noise,
        reads.weight,
        reads.bias,
        reads.noise,
        model.prior(once),
        frozenset(varies),
    )
