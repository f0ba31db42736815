"""`FIVO`: the bound of a particle filter that learns its proposal."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from statespace.errors import InputError, expected
from statespace.inference.particle import ParticleFilter
from statespace.inference.particle.select import Selection
from statespace.inference.variational.base import GuidedMethod
from statespace.interface import Kind, State, lend
from statespace.particles import check_scheme
from statespace.results import Smoothed
from statespace.sequences import Sequences, read_count

__all__ = ["FIVO"]


class FIVO(GuidedMethod):
    """The log-likelihood of a particle filter whose proposal is the guide.

    The log of an unbiased estimate of p(y): a lower bound in expectation, consistent in the number
    of particles, and tighter than `ImportanceWeighted` with as many where series are long. With
    one particle it is the ELBO. The gradient goes through the draws; that of the selection is left
    out, as by its authors (Maddison et al. 2017), who found it too noisy to help.

    A guide that sees the future is refused: particles would be selected by what y_1 .. y_t say,
    among proposals that already know the rest, and the bound would not tighten.

    Args:
        num_particles: K.
        resampling: "systematic", "stratified", "multinomial" or "residual".
        threshold: Resample when the effective sample size is at most this share of K.

    Example:
        >>> FIVO(64)
        FIVO(num_particles=64, resampling='systematic', threshold=0.5)
    """

    repeats: ClassVar[int] = 5
    references: ClassVar[tuple[str, ...]] = (
        "@inproceedings{maddison2017, author={Maddison, C. J. and others}, title={Filtering "
        "variational objectives}, booktitle={NeurIPS}, year={2017}}",
    )

    def __init__(
        self, num_particles: int = 64, resampling: str = "systematic", threshold: float = 0.5
    ) -> None:
        self.num_particles = read_count(num_particles, name="num_particles")
        self.resampling = check_scheme(resampling)
        fine = isinstance(threshold, int | float) and not isinstance(threshold, bool)
        if not fine or not 0 <= threshold <= 1:
            todo = "Give a share of the number of particles."
            raise InputError(expected("threshold", "0 to 1", repr(threshold), todo))
        self.threshold = threshold

    @property
    def _count(self) -> int:
        return self.num_particles

    @property
    def _limit(self) -> float:
        """The threshold; one particle is never selected, and draws nothing for it."""
        return self.threshold if self.num_particles > 1 else 0.0

    def kind(self, model: Any, data: Sequences, state: State | None = None) -> Kind:
        """An estimate."""
        return "estimate"

    def refusal(self, model: Any, data: Sequences | None) -> str | None:
        """A guide that sees the future."""
        reason = super().refusal(model, data)
        if reason is None and not model.guide.causal:
            return (
                f"FIVO selects particles by the past, and the guide of {type(model).__name__} sees "
                "the future of y. Methods that can: ImportanceWeighted, Variational, "
                "ParticleFilter."
            )
        return reason

    def _filter(self, model: Any) -> ParticleFilter:
        return ParticleFilter(self.num_particles, model.guide, self.resampling, self._limit)

    def log_likelihood(
        self, model: Any, data: Sequences, generator: Generator, state: State | None = None
    ) -> Tensor:
        """(*batch,), an estimate whose gradient goes through the draws."""
        how = Selection(model.guide, self.resampling, self._limit, pathwise=True)
        particles = self._filter(model)
        total = torch.zeros(data.batch_shape, dtype=model.dtype, device=model.device)
        with lend(generator) as lent:
            at = particles.begin(model, data, lent, state)
            for _, moved in particles.walk(model, data, at, how):
                total = total + moved.increment
        return total

    def smooth(
        self, model: Any, data: Sequences, generator: Generator, state: State | None = None
    ) -> Smoothed:
        """As a particle filter does: backward simulation where it is possible, else lineages."""
        return self._filter(model).smooth(model, data, generator, state)
