"""`ParticleFilter`: the method for every model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from statespace.beliefs import Finite, Real, Tree
from statespace.errors import InputError, InputTypeError, expected
from statespace.inference.particle.backward import smooth
from statespace.inference.particle.compiled import run
from statespace.inference.particle.compiled_back import smooth_compiled
from statespace.inference.particle.record import Row as Held
from statespace.inference.particle.record import (
    fits,
    prediction,
    record,
    record_of,
    summarised,
)
from statespace.inference.particle.select import Selection
from statespace.inference.particle.stochastic import Moved, beginning, move, one_per_particle
from statespace.interface import (
    Filter,
    Guide,
    Info,
    Kind,
    Method,
    Row,
    State,
    StateSpaceModel,
    lend,
)
from statespace.interface.stepping import forecast_by_draws, rows_of
from statespace.interface.walking import Moment, contexts
from statespace.particles import check_scheme, effective_size, resample
from statespace.results import Filtered, Forecast, Smoothed, keeping
from statespace.sequences import Sequences, read_count
from statespace.shapes import gather, tmap

__all__ = ["ParticleFilter"]

_PROPOSALS = ("bootstrap", "auxiliary")


@dataclass(frozen=True, repr=False)
class ParticleFilter(Filter):
    """Weighted particles: serves every model, and its likelihood is an unbiased estimate.

    The log-likelihood is the log of an unbiased estimate of p(y): a lower bound in expectation,
    consistent in the number of particles. Its gradient is Fisher's identity over the particles,
    consistent too. Filtering starts from the prior at every row ("bootstrap"), from the prior
    after a look at what each particle promises ("auxiliary", Pitt and Shephard 1999), from a
    causal `Guide`, or from a method that can propose, such as `ExtendedKalman()`. The auxiliary
    filter looks at the mean of each transition: it helps where that is near z_t, and does harm
    where noise moves z_t far beside what y_t tells.

    Smoothing is by backward simulation (Godsill, Doucet and West 2004), at a cost of K^2 a step,
    where p(z_{t+1} given z_t) is a density that the memory does not enter; where the memory reads
    z, or a y that was drawn, and with smoother="genealogy", it is by the lineages of the last
    particles, which are few at early rows.

    The record of `filter` holds effective sample sizes (`ess`), which particle each descends from
    (`ancestors`), their values (`particles`), and the row at which all weights were lost, if there
    is one (`lost`): the log-likelihood is then -inf, and the filter goes on with equal weights.
    `statespace.plot.particles` shows them.

    Where a model says that it is activations of affine maps (`GaussianLatent.network`), in float64
    on the CPU, compiled loops give the numbers of its densities, from the same random numbers. A
    gradient is asked of the densities: call `log_likelihood` under `torch.no_grad()` where none is
    wanted.

    Args:
        num_particles: K.
        proposal: "bootstrap", "auxiliary", a causal Guide, or a Method that can propose.
        resampling: "systematic", "stratified", "multinomial" or "residual".
        threshold: Resample when the effective sample size is at most this share of K: 0 is never
            and 1 is always.
        smoother: "ffbs" or "genealogy".

    Example:
        >>> ParticleFilter(500, threshold=1.0).num_particles
        500
    """

    num_particles: int = 1000
    proposal: Any = "bootstrap"
    resampling: str = "systematic"
    threshold: float = 0.5
    smoother: str = "ffbs"

    serves: ClassVar[Any] = StateSpaceModel
    repeats: ClassVar[int] = 5
    references: ClassVar[tuple[str, ...]] = (
        "@article{gordon1993, title={Novel approach to nonlinear/non-Gaussian Bayesian state "
        "estimation}, author={Gordon, N. J. and Salmond, D. J. and Smith, A. F. M.}, "
        "journal={IEE Proceedings F}, volume={140}, number={2}, pages={107--113}, year={1993}}",
    )

    def __post_init__(self) -> None:
        read_count(self.num_particles, name="num_particles")
        check_scheme(self.resampling)
        if isinstance(self.threshold, bool) or not isinstance(self.threshold, int | float):
            got = type(self.threshold).__name__
            raise InputTypeError(expected("threshold", "a number", got, "Give a share of K."))
        if not 0 <= self.threshold <= 1:
            todo = "Give a share of the number of particles."
            raise InputError(expected("threshold", "0 to 1", f"{self.threshold}", todo))
        if self.smoother not in ("ffbs", "genealogy"):
            words = '"ffbs" or "genealogy"'
            todo = "Choose one of them."
            raise InputError(expected("smoother", words, repr(self.smoother), todo))
        named = isinstance(self.proposal, str) and self.proposal in _PROPOSALS
        if not named and not isinstance(self.proposal, Guide | Method):
            words = '"bootstrap", "auxiliary", a Guide or a Method'
            todo = "Choose one of them."
            raise InputError(expected("proposal", words, f"{self.proposal!r:.60}", todo))

    @property
    def _how(self) -> Selection:
        return Selection(self.proposal, self.resampling, self.threshold)

    def kind(self, model: Any, data: Sequences, state: State | None = None) -> Kind:
        """An estimate; exact where z is zero wide and nothing that the memory reads is missing.

        A state in which particles have memories of their own has read what was drawn.
        """
        belief: Any = None if state is None else state.belief
        drawn = belief is not None and belief.carried
        nothing_drawn = not drawn and ("y" not in model.reads or data.complete)
        return "exact" if model.latent == Real(0) and nothing_drawn else "estimate"

    def refusal(self, model: Any, data: Sequences | None) -> str | None:
        """A guide that sees the future, or a method that cannot propose here."""
        reason = super().refusal(model, data)
        if reason is not None:
            return reason
        q = self.proposal
        if isinstance(q, Guide) and not q.causal:
            return (
                f"{type(q).__name__} encodes the future of y, and a filter never looks ahead. "
                'Propose with "bootstrap", "auxiliary" or a guide that says causal = True.'
            )
        if isinstance(q, Method):
            if type(q).propose is Method.propose:
                return (
                    f"{type(q).__name__} proposes no states. "
                    'Propose with "bootstrap", "auxiliary", a method that linearises, such as '
                    "UnscentedKalman(), or a causal Guide."
                )
            return q.refusal(model, data)
        if q == "auxiliary" and not isinstance(model.latent, Real | Finite):
            return (
                f'proposal="auxiliary" needs a state that is a vector or finite, and that of '
                f'{type(model).__name__} is {model.latent}. Propose with "bootstrap" or a Guide.'
            )
        return None

    def num_samples(self, model: Any) -> int:
        """K."""
        return self.num_particles

    def start(
        self, model: Any, batch_shape: Sequence[int], condition: Tree, generator: Generator
    ) -> State:
        """K equal particles that have seen nothing."""
        memory = model.path.start(torch.Size(batch_shape), condition)
        state = beginning(model, self.num_particles, batch_shape, memory)
        return replace(state, generator=generator)

    def step(self, model: Any, state: State, row: Row) -> tuple[State, Info]:
        """Select, move, weigh."""
        with lend(state.generator):
            row, guide = self._encoded(model, state, row)
            new, info = self._step(model, state, row)
            return replace(new, guide=guide), info

    def scan(
        self, model: Any, data: Sequences, generator: Generator, state: State | None = None
    ) -> Filtered:
        """The loop over `step`; a guide encodes all rows at once."""
        return self._scan(model, data, generator, state, "all")

    def scan_keeping(
        self, model: Any, data: Sequences, generator: Generator, state: State | None, keep: str
    ) -> Filtered:
        """The same; particles are held with keep="all" alone."""
        return keeping(self._scan(model, data, generator, state, keep), keep)

    def _scan(
        self, model: Any, data: Sequences, generator: Generator, state: State | None, keep: str
    ) -> Filtered:
        rows: list[Held] = []
        with lend(generator) as lent:
            at = self.begin(model, data, lent, state)
            held = keep == "all" and fits(at.belief, data)
            found = run(model, data, at, self._how, moments=True, held=held)
            if found is not None:
                end = replace(found.state, generator=generator)
                return record_of(self.kind(model, data, state), data, found.told, end)
            for active, moved in self.walk(model, data, at, self._how):
                at = moved.state
                rows.append(summarised(moved, active, held))
        at = replace(at, t=at.t + data.T - len(rows), generator=generator)
        return record(self.kind(model, data, state), data, rows, at)

    def log_likelihood(
        self, model: Any, data: Sequences, generator: Generator, state: State | None = None
    ) -> Tensor:
        """(*batch,), an estimate whose gradient estimates the score."""
        total = torch.zeros(data.batch_shape, dtype=model.dtype, device=model.device)
        with lend(generator) as lent:
            at = self.begin(model, data, lent, state)
            found = run(model, data, at, self._how)
            if found is not None:
                value = torch.from_numpy(found.told.increments).sum(-1)
                return value.reshape(data.batch_shape)
            for _, moved in self.walk(model, data, at, self._how):
                total = total + moved.increment
        return total

    def smooth(
        self, model: Any, data: Sequences, generator: Generator, state: State | None = None
    ) -> Smoothed:
        """Weighted trajectories: by backward simulation where it is possible, else lineages."""
        with lend(generator) as lent, torch.no_grad():
            at = self.begin(model, data, lent, state)
            kind = self.kind(model, data, state)
            found = smooth_compiled(model, data, at, self._how, self.smoother, kind)
            if found is not None:
                return found
            steps = [m for _, m in self.walk(model, data, at, self._how, keep_y=True)]
            return smooth(model, data, steps, kind, self.smoother)

    def draws(
        self, model: Any, state: State, num: int, generator: Generator
    ) -> tuple[Tree, Tree, Tensor]:
        """Independent joint draws of (z, memory, y)."""
        with lend(generator):
            return self._draws(state, num, "multinomial")

    def _draws(self, state: State, num: int, scheme: str) -> tuple[Tree, Tree, Tensor]:
        whole = one_per_particle(state)
        belief: Any = whole.belief
        ancestors = resample(belief.log_weights, num, scheme)
        drawn: tuple[Tree, Tree, Tensor] = gather((belief.z, whole.memory, whole.y), ancestors)
        return drawn

    def forecast(
        self,
        model: Any,
        state: State,
        inputs: Tensor,
        num_samples: int | None,
        generator: Generator,
    ) -> Forecast:
        """The weighted particles run on freely; `num_samples` of them if that is given."""
        with lend(generator), torch.no_grad():
            kind = self.forecast_kind
            if num_samples is not None:
                draws = self._draws(state, num_samples, "systematic")
                return forecast_by_draws(model, state, draws, inputs, kind)
            whole = one_per_particle(state)
            belief: Any = whole.belief
            draws = (belief.z, whole.memory, whole.y)
            return forecast_by_draws(model, state, draws, inputs, kind, belief.weights)

    def begin(
        self, model: Any, data: Sequences, generator: Generator, state: State | None
    ) -> State:
        """Where the rows begin, with a generator that has been lent."""
        if state is None:
            return self.start(model, data.batch_shape, data.condition, generator)
        return replace(state, generator=generator)

    def _step(self, model: Any, state: State, row: Row) -> tuple[State, Info]:
        if not bool(row.active.any()):
            still: Any = state.belief
            nan = torch.full(row.y.shape, torch.nan, dtype=model.dtype, device=row.y.device)
            nothing = torch.zeros_like(still.log_weights[0])
            info = Info(still, still, nothing, nan, torch.diag_embed(nan))
            return replace(state, t=state.t + 1), info
        moved = move(model, state, row, self._how)
        belief: Any = moved.state.belief
        y_mean, y_cov = prediction(moved)
        extra = {"ess": effective_size(belief.log_weights), "ancestors": moved.ancestors}
        return moved.state, Info(moved.predicted, belief, moved.increment, y_mean, y_cov, extra)

    def walk(
        self, model: Any, data: Sequences, at: State, how: Selection, *, keep_y: bool = False
    ) -> Iterator[tuple[Tensor, Moved]]:
        """The steps over all rows at which some series goes on, and which series do.

        A guide encodes all rows at once, unless it may look at a memory that reads what is drawn
        on the way.
        """
        e, guide = (), at.guide
        drawn = not data.complete or at.belief.carried  # type: ignore[attr-defined]
        each = isinstance(self.proposal, Guide) and self.proposal.causal
        each = each and drawn and "y" in model.reads and "z" not in model.reads
        if not each:
            e, guide = self.encoding(model, data, at)
        for row in rows_of(data, e):
            if bool(row.active.any()):
                if each:
                    row, guide = self._encoded(model, at, row)
                moved = move(model, at, row, how, keep_y=keep_y)
                at = replace(moved.state, guide=guide)
                yield row.active, replace(moved, state=at)

    def encoding(self, model: Any, data: Sequences, at: State) -> tuple[Tree, Tree]:
        """What the guide makes of the data, leaves (*batch, T, .), and where it stands then."""
        if not isinstance(self.proposal, Guide):
            return (), at.guide
        h = data.inputs[..., :0]
        if model.reads and "z" not in model.reads:
            h = contexts(model, data, None, Moment(at.t, None, at.memory, at.y))[1].h
        return self.proposal.encode_on(data, h, at.guide)

    def _encoded(self, model: Any, state: State, row: Row) -> tuple[Row, Tree]:
        """A row that came by itself, encoded where the guide stands, and where it stands then."""
        if not isinstance(self.proposal, Guide):
            return row, state.guide
        lengths = row.active.long()
        data = Sequences(
            row.y.unsqueeze(-2), row.observed.unsqueeze(-2), lengths, row.u.unsqueeze(-2)
        )
        e, guide = self.encoding(model, data, state)
        return replace(row, e=tmap(lambda leaf: leaf[..., 0, :], e)), guide
