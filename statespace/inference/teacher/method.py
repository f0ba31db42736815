"""`TeacherForcing`: the exact method of models without a latent state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from statespace.beliefs import Tree
from statespace.errors import InputError, expected
from statespace.inference.particle import ParticleFilter
from statespace.inference.particle.backward import smoothed
from statespace.inference.particle.record import prediction
from statespace.inference.particle.select import Selection
from statespace.inference.particle.stochastic import move
from statespace.inference.teacher.forced import Part, ended, first_gap, forced, mixed, told
from statespace.interface import Autoregressive, Filter, Info, Kind, Row, State, lend
from statespace.interface.stepping import rows_of
from statespace.particles import effective_size
from statespace.results import Filtered, Forecast, Smoothed
from statespace.sequences import Sequences, read_count
from statespace.shapes import tmap

__all__ = ["TeacherForcing"]


@dataclass(frozen=True, repr=False)
class TeacherForcing(Filter):
    """The exact likelihood where nothing is latent: the memory reads what was observed.

        log p(y | u) = sum_t log p(y_t | h_t, u_t),   h_t = path(h_{t-1}, feed(y_{t-1}, u_t))

    All of time is one scan of the memory and one call of the emission (Williams and Zipser 1989
    named the training so). An entry that is missing is marginalised, exactly, as long as nobody
    reads it. From the first row on whose missing entries are fed back, they are drawn inside
    particles, given what was observed beside them; the log-likelihood is then the log of an
    unbiased estimate, and its kind `estimate`.

    Args:
        num_particles: How many, where they are needed.
        scheduled_sampling: How often a learner's memory reads the model's own draw in the place
            of y_{t-1}: a probability, or a function of the number of updates made, such as
            `Warmup(2000)`, which grows from 0 to 1 (see `objective`). No likelihood that is
            reported looks at it.

    Raises:
        InputError: an argument out of range.

    Example:
        >>> import statespace as ss
        >>> rnn = ss.AutoregressiveRNN(obs_dim=1, hidden_dim=4, seed=0)
        >>> y = torch.tensor([0.3, -0.2, 0.1, 0.5])
        >>> rnn.score(y, method=TeacherForcing()).kind
        'exact'
        >>> y[1] = torch.nan
        >>> rnn.score(y, method=TeacherForcing(), seed=0).kind
        'estimate'
    """

    num_particles: int = 500
    scheduled_sampling: float | Callable[[int], float] = 0.0

    serves: ClassVar[Any] = Autoregressive
    repeats: ClassVar[int] = 5
    references: ClassVar[tuple[str, ...]] = (
        "@article{williams1989, title={A learning algorithm for continually running fully "
        "recurrent neural networks}, author={Williams, R. J. and Zipser, D.}, journal={Neural "
        "Computation}, volume={1}, number={2}, pages={270--280}, year={1989}}",
        "@inproceedings{bengio2015, author={Bengio, S. and Vinyals, O. and Jaitly, N. and "
        "Shazeer, N.}, title={Scheduled sampling for sequence prediction with recurrent neural "
        "networks}, booktitle={NeurIPS}, year={2015}}",
    )

    def __post_init__(self) -> None:
        read_count(self.num_particles, name="num_particles")
        if not callable(self.scheduled_sampling):
            self._share(self.scheduled_sampling)

    @property
    def _particles(self) -> ParticleFilter:
        return ParticleFilter(self.num_particles)

    @property
    def _still(self) -> ParticleFilter:
        """For rows at which nothing is drawn, resampling included."""
        return ParticleFilter(self.num_particles, threshold=0.0)

    def kind(self, model: Any, data: Sequences, state: State | None = None) -> Kind:
        """Exact where all that is fed back was observed, by the state that goes on too."""
        drawn = state is not None and _carried(state)
        whole = not drawn and first_gap(model, data, fed=True) == data.T
        return "exact" if whole else "estimate"

    def num_samples(self, model: Any) -> int:
        """Particles, where they are needed."""
        return self.num_particles

    def start(
        self, model: Any, batch_shape: Sequence[int], condition: Tree, generator: Generator
    ) -> State:
        """One memory for each series, which has read nothing."""
        return self._particles.start(model, batch_shape, condition, generator)

    def step(self, model: Any, state: State, row: Row) -> tuple[State, Info]:
        """One row: exact, or by particles once something is missing that the memory reads."""
        return (self._still if _certain(model, state, row) else self._particles).step(
            model, state, row
        )

    def log_likelihood(
        self, model: Any, data: Sequences, generator: Generator, state: State | None = None
    ) -> Tensor:
        """(*batch,), differentiable."""
        with lend(generator) as lent:
            at = self._begin(model, data, lent, state)
            cut = 0 if _carried(at) else first_gap(model, data, fed=True)
            total = torch.zeros(data.batch_shape, dtype=model.dtype, device=model.device)
            if cut == data.T:
                return forced(model, data, at, on=False)[2].sum(-1)
            if cut:
                first = data.rows(0, cut)
                _, memory, increments = forced(model, first, at)
                total, at = increments.sum(-1), ended(model, first, at, memory)
            rest = data.rows(cut, data.T)
            return total + self._particles.log_likelihood(model, rest, lent, at)

    @property
    def annealed(self) -> bool:
        """Where the share of own draws is a function of the updates."""
        return callable(self.scheduled_sampling)

    def objective(
        self,
        model: Any,
        data: Sequences,
        generator: Generator,
        state: State | None = None,
        step: int = 0,
    ) -> Tensor:
        """Scheduled sampling (Bengio, Vinyals, Jaitly and Shazeer 2015), (*batch,).

            sum_t log p(y_t | h_t),   h_t = path(h_{t-1}, feed(x_{t-1}, u_t))

        where x_{t-1} is y_{t-1} or, with probability eps(step), at each row of each series
        anew, what the model itself draws for that row. It learns to go on from its own mistakes.
        No gradient goes through the draws. What is climbed is no log-likelihood, nor a bound of
        one, and its maximum is not the truth: at eps = 1 rows are fitted one by one (Huszar
        2015). With eps = 0 it is the log-likelihood, number for number.
        """
        share = self._share(
            self.scheduled_sampling(step)
            if callable(self.scheduled_sampling)
            else self.scheduled_sampling
        )
        if not share or "y" not in model.reads:
            return self.log_likelihood(model, data, generator, state)
        with lend(generator) as lent:
            at = self._begin(model, data, lent, state)
            if _carried(at):  # one of the particles stands for all that may have been missing
                _, memory, y = self.draws(model, at, 1, lent)
                at = replace(at, memory=tmap(lambda leaf: leaf[0], memory), y=y[0])
            fed = mixed(model, data, at, share)
            return forced(model, data, at, fed, on=False)[2].sum(-1)

    @staticmethod
    def _share(given: Any) -> float:
        fine = isinstance(given, int | float) and not isinstance(given, bool)
        if not fine or not 0 <= given <= 1:
            wanted = "a number from 0 to 1, or a function from the update to one"
            todo = "Give how often the model's own draw is fed back."
            raise InputError(expected("scheduled_sampling", wanted, repr(given), todo))
        return float(given)

    def scan(
        self, model: Any, data: Sequences, generator: Generator, state: State | None = None
    ) -> Filtered:
        """All rows up to the first gap at once; particles from there on."""
        with lend(generator) as lent, torch.no_grad():
            at = self._begin(model, data, lent, state)
            cut = 0 if _carried(at) else first_gap(model, data, fed=False)
            parts = []
            if cut:
                first = data if cut == data.T else data.rows(0, cut)
                density, memory, increments = forced(model, first, at)
                parts.append(told(density, first, increments, self.num_particles))
                at = ended(model, first, at, memory)
            if cut < data.T:
                part, at = self._by_particles(model, data.rows(cut, data.T), at)
                parts.append(part)
        whole = parts[0] if len(parts) == 1 else parts[0].then(parts[1])
        return _record(self.kind(model, data, state), data, whole, at)

    def _by_particles(self, model: Any, data: Sequences, at: State) -> tuple[Part, State]:
        how = Selection("bootstrap", "systematic", self._particles.threshold)
        rows = []
        for row in rows_of(data):
            moved = move(model, at, row, how)
            at = moved.state
            y_mean, y_cov = prediction(moved)
            ess = effective_size(at.belief.log_weights)  # type: ignore[attr-defined]
            rows.append((moved.increment, y_mean, y_cov, ess))
        increments, means, covs, sizes = zip(*rows, strict=True)
        known = means[0] is not None
        return Part(
            torch.stack(increments, -1),
            torch.stack(means, -2) if known else None,
            torch.stack(covs, -3) if known else None,
            torch.stack(sizes, -1),
        ), at

    def smooth(
        self, model: Any, data: Sequences, generator: Generator, state: State | None = None
    ) -> Smoothed:
        """What was missing, given all of y; there is no state to know."""
        with lend(generator) as lent, torch.no_grad():
            at = self._begin(model, data, lent, state)
            if _carried(at) or not data.complete:
                return self._particles.smooth(model, data, lent, at)
            _, _, increments = forced(model, data, at)
            z = torch.zeros((1, *data.batch_shape, data.T, 0), dtype=model.dtype).to(model.device)

        def draw(n: int, generator: Generator) -> Tree:
            return z.expand(n, *z.shape[1:])

        whole = (z, data.values.unsqueeze(0))
        even = z.new_zeros(1, *data.batch_shape)
        return smoothed(model, data, whole, even, increments, ("exact", "none"), draw)

    def draws(
        self, model: Any, state: State, num: int, generator: Generator
    ) -> tuple[Tree, Tree, Tensor]:
        """Joint draws of (z, memory, y): copies, unless something was drawn."""
        if _carried(state):
            return self._particles.draws(model, state, num, generator)
        return super().draws(model, state, num, generator)

    def forecast(
        self,
        model: Any,
        state: State,
        inputs: Tensor,
        num_samples: int | None,
        generator: Generator,
    ) -> Forecast:
        """Copies of the memory run on freely."""
        if _carried(state):
            return self._particles.forecast(model, state, inputs, num_samples, generator)
        with lend(generator), torch.no_grad():
            return super().forecast(model, state, inputs, num_samples, generator)

    def _begin(
        self, model: Any, data: Sequences, generator: Generator, state: State | None
    ) -> State:
        if state is None:
            return self.start(model, data.batch_shape, data.condition, generator)
        return replace(state, generator=generator)


def _carried(state: State) -> bool:
    """Whether each particle has a memory of its own, since something was drawn."""
    belief: Any = state.belief
    return bool(belief.carried)


def _certain(model: Any, state: State, row: Row) -> bool:
    """Whether the row is absorbed without random numbers."""
    if _carried(state):
        return False
    seen = row.observed.all(-1) | ~row.active
    return "y" not in model.reads or bool(seen.all())


def _record(kind: str, data: Sequences, part: Part, state: State) -> Filtered:
    lead = (*data.batch_shape, data.T)
    none = torch.zeros((*lead, 0), dtype=part.increments.dtype, device=part.increments.device)
    innovations = None
    if part.y_mean is not None:
        gap = data.values - part.y_mean
        innovations = torch.where(data.observed, gap, torch.full_like(gap, torch.nan))
    return Filtered(
        mean=none,
        cov=none[..., None],
        predicted_mean=none,
        predicted_cov=none[..., None],
        y_mean=part.y_mean,
        y_cov=part.y_cov,
        innovations=innovations,
        increments=part.increments,
        log_likelihood=part.increments.sum(-1),
        kind=kind,
        state=state,
        lengths=data.lengths,
        index=data.index,
        univariate=data.univariate,
        ess=part.ess,
    )
