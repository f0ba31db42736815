"""Methods, filters, learners: each is given a model, and inherits from none."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol

from torch import Generator, Tensor
from torch.distributions import Distribution

from statespace.beliefs import Tree
from statespace.errors import MethodError
from statespace.interface.arguments import Checked
from statespace.interface.stepping import filtered, forecast_by_draws, rows_of
from statespace.interface.values import Context, Info, Kind, Row, State
from statespace.results import Filtered, FitResult, Forecast, Smoothed, keeping
from statespace.sequences import Sequences
from statespace.shapes import tmap

__all__ = ["AtOnce", "Filter", "Learner", "Method", "Repeated", "able", "able_filters"]

AtOnce = Literal["log_likelihood", "smooth"]  # verbs that may be answered without the door


class Repeated(Protocol):
    """The sum of log-likelihoods of a model on certain data, wherever the model is.

    The answers are those of `Method.log_likelihood`; None: ask that. Where it would refuse the
    point, an `InputError` or a `NumericalError` may come instead.
    """

    def value(self) -> float | None:
        """The log-likelihood."""

    def gradient(self, parameters: Sequence[Tensor]) -> tuple[float, Any] | None:
        """It and its gradient in some parameters, side by side in one float64 array."""


class Method(metaclass=Checked):
    """Computes beliefs and likelihoods; is given a model.

    Two methods are equal if they are of one class with equal settings; a state continues only
    under an equal method.
    """

    serves: ClassVar[Any]  # the family it needs, a subclass of StateSpaceModel
    repeats: ClassVar[int] = 1  # independent runs that `score` averages, where they are sampled
    references: ClassVar[tuple[str, ...]] = ()  # BibTeX entries of its sources, for `citation`

    @abstractmethod
    def kind(self, model: Any, data: Sequences, state: State | None = None) -> Kind:
        """What its log-likelihood is, on these data; of data that go on, from that state."""

    def refusal(self, model: Any, data: Sequences | None) -> str | None:
        """Why it cannot, and which methods can; None if it can.

        By the family, then by the data (None where none are there yet).
        """
        if isinstance(model, self.serves):
            return None
        return (
            f"{type(self).__name__} serves {self.serves.__name__} models, and "
            f"{type(model).__name__} is none. Methods that serve it: {able(model)}."
        )

    @abstractmethod
    def log_likelihood(
        self, model: Any, data: Sequences, generator: Generator, state: State | None = None
    ) -> Tensor:
        """(*batch,), differentiable."""

    def objective(
        self,
        model: Any,
        data: Sequences,
        generator: Generator,
        state: State | None = None,
        step: int = 0,
    ) -> Tensor:
        """What a learner climbs at an update, (*batch,): the log-likelihood, unless annealed.

        Args:
            model: The model.
            data: The data.
            generator: Random numbers.
            state: Where the data go on.
            step: Updates made before.
        """
        return self.log_likelihood(model, data, generator, state)

    def monitor(self, model: Any, data: Sequences, generator: Generator) -> Mapping[str, Any]:
        """What a person would watch besides the objective while a learner climbs.

        Args:
            model: The model.
            data: What to look at.
            generator: Random numbers.

        Returns:
            Fields of `TrainingRecord`, those that this method knows.
        """
        return {}

    @property
    def annealed(self) -> bool:
        """Whether `objective` looks at the number of updates.

        Its values at two updates cannot then be compared: a learner keeps the last point, or the
        best on validation data.
        """
        return False

    @abstractmethod
    def smooth(
        self, model: Any, data: Sequences, generator: Generator, state: State | None = None
    ) -> Smoothed:
        """Beliefs given all of y, and joint draws."""

    def smooth_keeping(
        self, model: Any, data: Sequences, generator: Generator, state: State | None, keep: str
    ) -> Smoothed:
        """`smooth`, of which the record holds what `keep` says (see the verb).

        A method that can leave out the computing too overrides it.
        """
        return keeping(self.smooth(model, data, generator, state), keep)

    def at_once(self, verb: AtOnce, model: Any, y: Tensor, keep: str = "all") -> Any:
        """The answer of a verb to plain data by a way shorter than the door; None: no such way.

        The verbs ask first, with a tensor that nobody has looked at and nothing beside it. What
        comes back must be what the long way gives; wherever that would refuse, warn, or find
        anything unusual, None must come back.
        """
        return None

    def sums(self, model: Any, data: Sequences) -> tuple[Tensor, Any] | None:
        """The log-likelihood (*batch,) and what a model with `takes_sums` makes statistics of.

        For methods that can add up an E-step without storing the posterior of every row; None
        where this one cannot, and `smooth` is to be asked.
        """
        return None

    def repeated(self, model: Any, data: Sequences) -> Repeated | None:
        """The log-likelihood by a shorter way, on data that stay; None: no such way.

        A learner asks for it at hundreds of points.
        """
        return None

    def propose(
        self, model: Any, z: Tree, ctx: Context, row: Row, prior: Distribution
    ) -> Distribution:
        """q(z_t | z_{t-1} = z, y_t): what a particle filter draws from if this is its proposal.

        Args:
            model: The model.
            z: The particles, leaves (K, *batch, *event).
            ctx: What z_t sees.
            row: The row that arrives.
            prior: p(z_t | z_{t-1} = z), over (K, *batch).

        Raises:
            MethodError: the method cannot propose.
        """
        raise MethodError(
            f"{type(self).__name__} proposes no states. Use ParticleFilter with "
            'proposal="bootstrap", "auxiliary", a method that linearises or a Guide.'
        )

    def num_samples(self, model: Any) -> int | None:
        """How many samples stand behind a number; None where it is not sampled."""
        return None

    def __eq__(self, other: object) -> bool:
        """Of one class, with equal settings."""
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        """Of the class."""
        return hash(type(self))

    def __repr__(self) -> str:
        """As it would be made."""
        settings = ", ".join(f"{k}={v!r}" for k, v in vars(self).items() if k[0] != "_")
        return f"{type(self).__name__}({settings})"


class Filter(Method):
    """A method that needs no future. `filter`, `forecast` and online use are its `step`."""

    forecast_kind: ClassVar[Kind] = "estimate"  # "approximate" where the belief is

    @abstractmethod
    def start(
        self, model: Any, batch_shape: Sequence[int], condition: Tree, generator: Generator
    ) -> State:
        """The belief about z_1 before any data, at t = 0."""

    @abstractmethod
    def step(self, model: Any, state: State, row: Row) -> tuple[State, Info]:
        """Absorbs one row."""

    def scan(
        self, model: Any, data: Sequences, generator: Generator, state: State | None = None
    ) -> Filtered:
        """All rows: the loop over `step`. A faster one is held equal to it by a test."""
        kind = self.kind(model, data, state)
        if state is None:
            state = self.start(model, data.batch_shape, data.condition, generator)
        infos = []
        for row in rows_of(data):
            state, info = self.step(model, state, row)
            infos.append(info)
        return filtered(kind, data, infos, state)

    def scan_keeping(
        self, model: Any, data: Sequences, generator: Generator, state: State | None, keep: str
    ) -> Filtered:
        """`scan`, of which the record holds what `keep` says (see the verb).

        A method that can leave out the computing too overrides it.
        """
        return keeping(self.scan(model, data, generator, state), keep)

    def log_likelihood(
        self, model: Any, data: Sequences, generator: Generator, state: State | None = None
    ) -> Tensor:
        """(*batch,), the sum of the increments."""
        return self.scan(model, data, generator, state).log_likelihood

    def draws(
        self, model: Any, state: State, num: int, generator: Generator
    ) -> tuple[Tree, Tree, Tensor]:
        """Joint draws of (z_t, memory, y_t) from a state, each with a leading axis (num,).

        A method whose memory differs from sample to sample overrides it.
        """
        lead = (num, *state.batch_shape)
        z = state.belief.sample((num,), generator)
        memory = tmap(lambda leaf: leaf.expand(*lead, leaf.shape[-1]), state.memory)
        return z, memory, state.y.expand(*lead, state.y.shape[-1])

    def forecast(
        self,
        model: Any,
        state: State,
        inputs: Tensor,
        num_samples: int | None,
        generator: Generator,
    ) -> Forecast:
        """The rows after a state: draws from its belief, each of which runs on freely.

        Args:
            model: The model.
            state: Where the rows begin.
            inputs: (*batch, horizon, p).
            num_samples: How many draws; 1000 if None.
            generator: Random numbers.
        """
        num = 1000 if num_samples is None else num_samples
        draws = self.draws(model, state, num, generator)
        return forecast_by_draws(model, state, draws, inputs, self.forecast_kind)


class Learner(metaclass=Checked):
    """Changes parameters. Knows a model by its family or by its gradient."""

    references: ClassVar[tuple[str, ...]] = ()

    def refusal(self, model: Any, data: Sequences, method: Method) -> str | None:
        """Why it cannot, and which learners can; None if it can."""
        return None

    @abstractmethod
    def fit(
        self,
        model: Any,
        data: Sequences,
        method: Method,
        generator: Generator,
        validation: Sequences | None = None,
        progress: Any = None,
    ) -> FitResult:
        """Trains the model in place."""


def able(model: Any) -> str:
    """The names of the methods that serve a model, for sentences."""
    return _names(Method, model)


def able_filters(model: Any) -> str:
    """The names of those that never look ahead."""
    return _names(Filter, model)


def _names(kind: Any, model: Any) -> str:
    found = {c.__name__ for c in _concrete(kind) if isinstance(model, c.serves)}
    return ", ".join(sorted(found)) or "none"


def _concrete(kind: Any) -> list[Any]:
    below = [found for child in kind.__subclasses__() for found in _concrete(child)]
    return below if inspect.isabstract(kind) else [kind, *below]
