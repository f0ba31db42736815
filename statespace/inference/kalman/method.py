"""The method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from statespace.errors import InputError, expected
from statespace.gaussian import Gaussian
from statespace.inference.kalman import direct
from statespace.inference.kalman.belief import KalmanBelief
from statespace.inference.kalman.direct_smooth import smoothed
from statespace.inference.kalman.fields import of_rows
from statespace.inference.kalman.problem import Problem, Rows, like, problem, rows_of, system_of
from statespace.inference.kalman.repeated import repeated
from statespace.inference.kalman.smoothing import Shown, loops, record, run_forward
from statespace.inference.lineargaussian import (
    filter_moments,
    log_likelihood,
    start,
)
from statespace.inference.lineargaussian.compiled import suits
from statespace.inference.lineargaussian.expected import Expected, run_expected
from statespace.inference.lineargaussian.filtered import Found, run_filter
from statespace.inference.lineargaussian.opening import plain_filter, run_opening
from statespace.inference.lineargaussian.passes import Core
from statespace.inference.lineargaussian.simulate import simulate
from statespace.interface import Filter, Info, LinearGaussian, Row, State
from statespace.interface.methods import AtOnce, Repeated
from statespace.interface.values import Kind
from statespace.linalg import Covariance
from statespace.results import Filtered, Forecast, Smoothed
from statespace.sequences import Sequences

__all__ = ["Kalman"]


class Kalman(Filter):
    """Exact filtering, smoothing, forecasts and likelihood of a linear-Gaussian model.

    Square-root (array) form throughout; exact diffuse start by augmentation (De Jong 1991);
    smoothing and the score by the backward recursion r_t, N_t (Koopman and Shephard 1992). See
    `docs/numerics.md`.

    Args:
        core: "plain" loops over rows, "compiled" ones (on the CPU) or a "scan" over time: the same
            numbers. "auto" takes what suits the device and the data.

    Example:
        >>> import statespace as ss
        >>> y = ss.datasets.nile()
        >>> level = ss.LDS(1, 1, A=[[1.0]], C=[[1.0]], Q=[[1469.1]], R=[[15099.0]],
        ...                initial="diffuse")
        >>> round(level.score(y, method=ss.Kalman()).value, 7)
        -633.4645636
    """

    serves: ClassVar[type] = LinearGaussian

    def __init__(self, core: Core = "auto") -> None:
        if core not in ("auto", "plain", "compiled", "scan"):
            todo = "Choose one of them; the numbers are the same."
            words = '"auto", "plain", "compiled" or "scan"'
            raise InputError(expected("core", words, repr(core), todo))
        self.core = core

    def kind(self, model: Any, data: Sequences, state: State | None = None) -> Kind:
        """Always exact."""
        return "exact"

    def at_once(self, verb: AtOnce, model: Any, y: Tensor, keep: str = "all") -> Any:
        """From kept arrays, where the model is an LDS and the data are few (see `direct`)."""
        if type(self) is not Kalman or self.core in ("plain", "scan"):
            return None
        if verb == "log_likelihood":
            return direct.log_likelihood(model, y)
        known = direct.given(model, y)
        if known is None:
            return None
        complete = known.complete()
        found = smoothed(known, keep) if complete else None
        if found is not None:
            return found
        shown = Shown(torch.full(known.batch, known.rows), None, known.univariate, keep)
        p = known.problem(gaps=not complete)
        with torch.no_grad():
            moments = loops(p, known.constant, keep, self.core)
        if not complete and (moments is None or not bool(torch.isfinite(moments[0]).all())):
            return None
        return record(p, shown, known.constant, self.core, moments)

    def repeated(self, model: Any, data: Sequences) -> Repeated | None:
        """From arrays laid out once, where there is one series (see `repeated`)."""
        if type(self) is not Kalman or self.core == "plain":
            return None
        return repeated(model, data)

    def start(
        self, model: Any, batch_shape: Sequence[int], condition: Any, generator: Generator
    ) -> State:
        """The belief about z_1 before any data."""
        none = torch.zeros(*batch_shape, 1, model.input_dim, **like(model))
        begin = start(system_of(model, none, 0).detach())

        def wide(v: Tensor) -> Tensor:
            return v.expand(*batch_shape, *v.shape[-2:])

        belief = KalmanBelief(wide(begin.x), wide(begin.s), wide(begin.rows))
        return State(0, belief, (), none[..., 0, :0], generator)

    def step(self, model: Any, state: State, row: Row) -> tuple[State, Info]:
        """Absorb one row."""
        t_axis = -2
        data = Rows(
            row.y.unsqueeze(t_axis), row.observed.unsqueeze(t_axis), row.active[..., None], row.u
        )
        p = problem(model, data, state)
        with torch.no_grad():
            run = run_forward(p)
            out = filter_moments(run, p.system, diffuse_constant=model.diffuse_constant)
        old = state.belief
        new = KalmanBelief(run.xf[-1], run.sf[-1].expand_as(out.cov[-1]), out.rows[-1])
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
        return self.scan_keeping(model, data, generator, state, "all")

    def scan_keeping(
        self, model: Any, data: Sequences, generator: Generator, state: State | None, keep: str
    ) -> Filtered:
        """Without covariances, or without all rows but the last, where they are not kept."""
        p = problem(model, rows_of(data), state)
        last = (data.lengths - 1 + p.skip).clamp_min(0)
        with torch.no_grad():
            found = self._filter(p, last, model.diffuse_constant, keep)
        belief = KalmanBelief(*found.end, uneven=bool((last != last.max()).any()))
        t = (state.t if state is not None else 0) + data.T
        return Filtered(
            **of_rows(found, data, 0 if keep == "last" else p.skip, keep),
            log_likelihood=found.log_likelihood,
            kind="exact",
            state=State(t, belief.collapsed(), (), data.values[..., -1, :0], generator),
            univariate=data.univariate,
            keep=keep,
        )

    def _filter(self, p: Problem, last: Tensor, constant: bool, keep: str) -> Found:
        """Filtered moments, compiled where that serves."""
        if suits(p.system, p.y, self.core):
            data = (p.system, p.begin, p.y, p.observed)
            if p.begin.x.shape[-1] == 1:
                found = run_filter(*data, last, keep)
            else:
                found = run_opening(*data, p.active, last, keep, diffuse_constant=constant)
            if found is not None:
                return found
        told = (p.system, p.begin, p.y, p.observed, p.active, last)
        found = plain_filter(*told, diffuse_constant=constant, core=self.core)
        return found.keeping(keep, last)

    def log_likelihood(
        self, model: Any, data: Sequences, generator: Generator, state: State | None = None
    ) -> Tensor:
        """Log p(y), (*batch,), differentiable."""
        p = problem(model, rows_of(data), state, graph=True)
        constant = model.diffuse_constant
        return log_likelihood(
            p.system,
            p.y,
            p.observed,
            p.active,
            diffuse_constant=constant,
            begin=p.given,
            core=self.core,
        )

    def smooth(
        self, model: Any, data: Sequences, generator: Generator, state: State | None = None
    ) -> Smoothed:
        """Moments of every z_t given all of y, and joint draws."""
        return self.smooth_keeping(model, data, generator, state, "all")

    def smooth_keeping(
        self, model: Any, data: Sequences, generator: Generator, state: State | None, keep: str
    ) -> Smoothed:
        """Without the covariances that are not kept."""
        p = problem(model, rows_of(data), state)
        shown = Shown(data.lengths, data.index, data.univariate, keep)
        return record(p, shown, model.diffuse_constant, self.core)

    def sums(self, model: Any, data: Sequences) -> tuple[Tensor, Expected] | None:
        """EM's sums, from the compiled loops; None where those do not serve."""
        p = problem(model, rows_of(data), None)
        own = [n for n in p.system.covariance_batch_shape() if n > 1]
        if not suits(p.system, p.y, self.core) or own != [n for n in model.batch_shape if n > 1]:
            return None
        with torch.no_grad():
            return run_expected(
                p.system, p.begin, p.y, p.observed, data.lengths,
                diffuse_constant=model.diffuse_constant, by_row=model.input_dim > 0,
            )  # fmt: skip

    def forecast(
        self,
        model: Any,
        state: State,
        inputs: Tensor,
        num_samples: int | None,
        generator: Generator,
    ) -> Forecast:
        """Exact moments of the rows after a state: filtering rows in which nothing is seen."""
        horizon = inputs.shape[-2]
        shape = (*inputs.shape[:-1], model.obs_dim)
        y = inputs.new_zeros(shape)
        unseen = torch.zeros(shape, dtype=torch.bool, device=y.device)
        on = torch.ones(shape[:-1], dtype=torch.bool, device=y.device)
        p = problem(model, Rows(y, unseen, on, inputs), state)
        with torch.no_grad():
            run = run_forward(p)
            out = filter_moments(run, p.system)
        k = p.skip

        def draw(num: int, generator: Generator) -> Tensor:
            lead = torch.Size((num, *shape[:-2]))
            with torch.no_grad():
                return simulate(p.system, p.begin, lead, horizon + k, generator, self.core)[1][
                    ..., k:, :
                ]

        return Forecast(
            mean=out.y_mean[k:].movedim(0, -2),
            cov=out.y_cov[k:].movedim(0, -3),
            z_mean=out.mean[k:].movedim(0, -2),
            z_cov=out.cov[k:].movedim(0, -3),
            kind="exact",
            sampler=draw,
        )


def _moments(mean: Tensor, cov: Tensor) -> Gaussian:
    return Gaussian(mean, Covariance(cov, cov.new_zeros(*cov.shape[:-1], 0)))
