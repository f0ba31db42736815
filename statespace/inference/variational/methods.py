"""`Variational` and `ImportanceWeighted`: bounds from paths that are never selected."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from statespace.beliefs import Tree
from statespace.densities import complete
from statespace.errors import InputError, expected
from statespace.inference.particle.backward import smoothed
from statespace.inference.variational.base import GuidedMethod, stepped_weights
from statespace.inference.variational.terms import (
    Gap,
    at_the_draw,
    balanced,
    in_closed_form,
    terms_of,
)
from statespace.inference.variational.trace import Trace, draw
from statespace.interface import Kind, State, lend
from statespace.particles import resample
from statespace.results import Smoothed
from statespace.sequences import Sequences, read_count
from statespace.shapes import gather

__all__ = ["ImportanceWeighted", "Variational", "Warmup"]

_PATHS = 200  # drawn by a smoother, however few samples a bound takes


@dataclass(frozen=True)
class Warmup:
    """A weight that grows from 0 to 1 over some updates, and stays there.

    Args:
        updates: How many.

    Example:
        >>> [Warmup(4)(step) for step in (0, 1, 4, 9)]
        [0.0, 0.25, 1.0, 1.0]
    """

    updates: int

    def __post_init__(self) -> None:
        read_count(self.updates, name="updates")

    def __call__(self, step: int) -> float:
        """The weight at an update, 0 for the first."""
        return min(1.0, step / self.updates)


class _Bound(GuidedMethod):
    """A bound from paths of the guide over all of time."""

    repeats: ClassVar[int] = 5

    def kind(self, model: Any, data: Sequences, state: State | None = None) -> Kind:
        """A lower bound in expectation."""
        return "lower bound"

    @abstractmethod
    def _combine(self, log_w: Tensor) -> Tensor:
        """The bound (*batch,) from log p(y, z) / q(z), (K, *batch)."""

    def log_likelihood(
        self, model: Any, data: Sequences, generator: Generator, state: State | None = None
    ) -> Tensor:
        """The bound, (*batch,): at beta 1, without free bits."""
        with lend(generator) as lent:
            if _drawn(model, data):
                return self._combine(stepped_weights(model, data, self._count, lent, state))
            trace = self._trace(model, data, self._count, lent, state)
            return self._combine(terms_of(model, model.guide, data, trace, self._gap).total)

    @property
    def _gap(self) -> Gap:
        return at_the_draw

    def _trace(
        self, model: Any, data: Sequences, num: int, generator: Generator, state: State | None
    ) -> Trace:
        if state is None:
            return draw(model, model.guide, data, num)
        at = self._moment(model, state, num, generator)
        return draw(model, model.guide, data, num, at, state.guide)

    @abstractmethod
    def _path_weights(self, log_w: Tensor) -> Tensor:
        """Log weights of paths, (K, *batch), that sum to one."""

    def smooth(
        self, model: Any, data: Sequences, generator: Generator, state: State | None = None
    ) -> Smoothed:
        """Paths from the guide; of a guide that is causal, they are of a filter's quality."""
        if _drawn(model, data):
            return self._filter(model).smooth(model, data, generator, state)
        num = max(self._count, _PATHS)
        with lend(generator) as lent, torch.no_grad():
            trace = self._trace(model, data, num, lent, state)
            terms = terms_of(model, model.guide, data, trace, at_the_draw)
            emission = model.emission(trace.z, trace.after).expand(terms.kl.shape)
            y = complete(emission, data.values, data.observed)
            log_w = self._path_weights(terms.total)

        def sample(n: int, generator: Generator) -> Tree:
            with lend(generator), torch.no_grad():
                return gather(trace.z, resample(log_w, n, "multinomial"))

        bound = self._combine(terms.total)[..., None]
        used = "filter quality, since the guide is causal" if model.guide.causal else "guide"
        words = ("approximate", used)
        return smoothed(model, data, (trace.z, y), log_w, bound, words, sample)


class Variational(_Bound):
    """The evidence lower bound: a path from the guide, weighed by the model.

        ELBO = E_q sum_t [ log p(y_t | z_t) - KL(q(z_t | z_{t-1}, e_t), p(z_t | z_{t-1})) ]
             <= log p(y)

    With kl="sampled" the divergence is that at the draw, and every number is the average of
    `num_samples` logarithms of unbiased estimates of p(y). With kl="analytic" it is in closed form
    given z_{t-1}, where there is one: the same in expectation, with less noise. The gradient goes
    through the draws (Kingma and Welling 2014).

    `beta`, `free_bits` and `balance` change what a learner climbs, never the bound that is
    reported. Where a missing y feeds the memory it is drawn on the way, row by row: the divergence
    is then that at the draw, the gradient takes what was drawn as given, and the three settings
    are not looked at.

    Args:
        num_samples: Paths for each series.
        kl: "analytic" or "sampled".
        beta: Weight of the divergence while learning, a number or `Warmup(updates)`.
        free_bits: Nats for each row below which the divergence is not pushed.
        balance: Share of the divergence's gradient that moves the prior, the rest moves the
            guide; None for the plain gradient.

    Raises:
        InputError: a setting out of range.

    Example:
        >>> Variational(kl="sampled")
        Variational(num_samples=1, kl='sampled')
    """

    references: ClassVar[tuple[str, ...]] = (
        "@inproceedings{kingma2014, author={Kingma, D. P. and Welling, M.}, title={Auto-encoding "
        "variational Bayes}, booktitle={ICLR}, year={2014}}",
    )

    def __init__(
        self,
        num_samples: int = 1,
        *,
        kl: str = "analytic",
        beta: Any = 1.0,
        free_bits: float = 0.0,
        balance: float | None = None,
    ) -> None:
        self._samples = read_count(num_samples, name="num_samples")
        if kl not in ("analytic", "sampled"):
            todo = "Choose one of them."
            raise InputError(expected("kl", '"analytic" or "sampled"', repr(kl), todo))
        if not callable(beta):
            _check_number("beta", beta, 0.0, math.inf)
        _check_number("free_bits", free_bits, 0.0, math.inf)
        if balance is not None:
            _check_number("balance", balance, 0.0, 1.0)
        self.kl, self.beta, self.free_bits, self.balance = kl, beta, free_bits, balance

    def __repr__(self) -> str:
        plain = {"beta": 1.0, "free_bits": 0.0, "balance": None}
        more = {k: getattr(self, k) for k, v in plain.items() if getattr(self, k) != v}
        rest = "".join(f", {k}={v!r}" for k, v in more.items())
        return f"Variational(num_samples={self._samples}, kl={self.kl!r}{rest})"

    @property
    def _count(self) -> int:
        return self._samples

    @property
    def _gap(self) -> Gap:
        return in_closed_form if self.kl == "analytic" else at_the_draw

    @property
    def annealed(self) -> bool:
        """Where beta is a function of the updates."""
        return callable(self.beta)

    def _combine(self, log_w: Tensor) -> Tensor:
        return log_w.mean(0)

    def _path_weights(self, log_w: Tensor) -> Tensor:
        return torch.zeros_like(log_w).log_softmax(0)

    def objective(
        self,
        model: Any,
        data: Sequences,
        generator: Generator,
        state: State | None = None,
        step: int = 0,
    ) -> Tensor:
        """The bound with its divergence weighed by beta, with free bits and balance, (*batch,)."""
        beta = float(self.beta(step)) if callable(self.beta) else self.beta
        plain = beta == 1.0 and not self.free_bits and self.balance is None
        if plain or _drawn(model, data):
            return self.log_likelihood(model, data, generator, state)
        gap = self._gap if self.balance is None else balanced(self.balance)
        with lend(generator) as lent:
            trace = self._trace(model, data, self._count, lent, state)
            terms = terms_of(model, model.guide, data, trace, gap)
        kl = terms.kl
        if self.free_bits:
            kl = torch.where(data.active, kl.clamp_min(self.free_bits), kl)
        return (terms.log_y - beta * kl).sum(-1).mean(0)


class ImportanceWeighted(_Bound):
    """The importance weighted bound: the logarithm of an average over K paths of the guide.

        IWAE(K) = E log (1/K) sum_k p(y, z_k) / q(z_k | y),    ELBO = IWAE(1) <= IWAE(K) <= log p(y)

    It does not fall when K grows, and tends to log p(y) (Burda, Grosse and Salakhutdinov 2016).

    Args:
        num_samples: K.

    Example:
        >>> ImportanceWeighted(64)
        ImportanceWeighted(num_samples=64)
    """

    references: ClassVar[tuple[str, ...]] = (
        "@inproceedings{burda2016, author={Burda, Y. and Grosse, R. and Salakhutdinov, R.}, "
        "title={Importance weighted autoencoders}, booktitle={ICLR}, year={2016}}",
    )

    def __init__(self, num_samples: int = 64) -> None:
        self._samples = read_count(num_samples, name="num_samples")

    def __repr__(self) -> str:
        return f"ImportanceWeighted(num_samples={self._samples})"

    @property
    def _count(self) -> int:
        return self._samples

    def _combine(self, log_w: Tensor) -> Tensor:
        return log_w.logsumexp(0) - math.log(log_w.shape[0])

    def _path_weights(self, log_w: Tensor) -> Tensor:
        return log_w.log_softmax(0)


def _drawn(model: Any, data: Sequences) -> bool:
    """Whether something is missing that the memory reads, so that it is drawn on the way."""
    return "y" in model.reads and not data.complete


def _check_number(name: str, value: Any, low: float, high: float) -> None:
    fine = isinstance(value, int | float) and not isinstance(value, bool)
    if not fine or not low <= value <= high:
        wanted = f"a number from {low:g}" + ("" if high == math.inf else f" to {high:g}")
        raise InputError(expected(name, wanted, repr(value), "Give such a number."))
