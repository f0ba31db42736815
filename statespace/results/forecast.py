"""`Forecast`: y and z of the rows after the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import torch
from torch import Generator, Tensor

from statespace.errors import InputError, MethodError, expected
from statespace.results.frames import names_of_y, row_labels, stack_series, to_columns
from statespace.results.record import (
    Axes,
    Record,
    check_kind,
    make_generator,
    position,
    stddev,
)
from statespace.sequences import Index, read_count

__all__ = ["Forecast"]


@dataclass(frozen=True, eq=False, repr=False)
class Forecast(Record):
    """What is known of the h rows after the data; row 0 is the first of them.

    The feature axis m is absent where the data had none. Quantiles come from `quantile_fn`, else
    from `samples`, else from the Gaussian marginals that `mean` and `cov` give. No field carries a
    gradient.

    Attributes:
        mean: E[y], (*batch, h, m).
        cov: Covariance of the features of each row, (*batch, h, m, m).
        z_mean: E[z], (*batch, h, n).
        z_cov: Its covariance, (*batch, h, n, n).
        kind: What these are: exact, approximate, an estimate, or a lower bound.
        sampler: Joint draws of the rows of y: (n, generator) -> (n, *batch, h, m).
        samples: Draws that were made already, (num, *batch, h, m).
        probs: P(y = v) of a categorical y, (*batch, h, m, V).
        z_probs: P(k) of a discrete state, (*batch, h, K).
        quantile_fn: Exact quantiles of another family: q (Q,) -> (Q, *batch, h, m).
        index: Labels of the data that the forecast goes on from, or None.
        univariate: Whether the data had no feature axis.
        start: The number of the first row, (*batch,); 0 where it is not known.
        lengths: h, (*batch,).
        seed: The seed that gives it again; None where nothing was drawn, or a state went on.

    Example:
        >>> fc = Forecast(torch.zeros(2, 1), torch.ones(2, 1, 1), kind="exact", univariate=True)
        >>> fc
        Forecast(exact, horizon=2, m=1)
        >>> fc.quantile([0.05, 0.95])
        tensor([[-1.6449, -1.6449],
                [ 1.6449,  1.6449]])
    """

    layout: ClassVar[Mapping[str, Axes]] = {
        "mean": Axes(1, of_y=(-1,)),
        "cov": Axes(2, of_y=(-1, -1)),
        "z_mean": Axes(1),
        "z_cov": Axes(2),
        "probs": Axes(2, of_y=(-2,)),
        "z_probs": Axes(1),
        "start": Axes(0, rows=False),
    }

    mean: Tensor | None = None
    cov: Tensor | None = None
    z_mean: Tensor | None = None
    z_cov: Tensor | None = None
    kind: str = field(kw_only=True)
    sampler: Callable[[int, Generator], Tensor] | None = None
    samples: Tensor | None = None
    probs: Tensor | None = None
    z_probs: Tensor | None = None
    quantile_fn: Callable[[Tensor], Tensor] | None = None
    index: Index | None = None
    univariate: bool = False
    start: Tensor | None = None
    lengths: Tensor = field(default=None, kw_only=True)  # type: ignore[assignment]
    seed: int | None = field(default=None, kw_only=True)
    settled: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        check_kind(self.kind)
        if self.settled:
            return
        if self.samples is not None and self.univariate:
            object.__setattr__(self, "samples", self.samples.squeeze(-1))
        of_y = self.mean if self.mean is not None else self.probs
        if of_y is None:
            todo = "Give the moments of y, or the probabilities of its values."
            raise InputError(expected("mean", "mean or probs", "neither", todo))
        rows = of_y.shape[-2 if self.mean is not None else -3]
        object.__setattr__(self, "lengths", torch.tensor(rows, device=of_y.device))
        self._settle()

    @property
    def horizon(self) -> int:
        """How many rows, h."""
        return int(self.lengths.flatten()[0])

    @property
    def stddev(self) -> Tensor | None:
        """Standard deviations of y, (*batch, h, m)."""
        return None if self.cov is None else stddev(self.cov, self.univariate)

    def quantile(self, q: float | Sequence[float] | Tensor) -> Tensor:
        """Quantiles of every entry of y by itself.

        Args:
            q: Probabilities between 0 and 1, or one of them.

        Returns:
            (len(q), *batch, h, m), or (*batch, h, m) for a single q.

        Raises:
            InputError: A probability outside of (0, 1).
            MethodError: y is categorical: its values have no order. Use `probs`.
        """
        like = self.mean if self.mean is not None else self.probs
        assert like is not None
        levels = torch.as_tensor(q, dtype=like.dtype, device=like.device)
        if levels.ndim > 1 or not bool(((levels > 0) & (levels < 1)).all()):
            todo = "Give 0.05 for the 5 % quantile."
            raise InputError(expected("q", "probabilities between 0 and 1", f"{q}", todo))
        out = self._quantiles(levels.reshape(-1))
        return out if levels.ndim else out[0]

    def _quantiles(self, q: Tensor) -> Tensor:
        if self.quantile_fn is not None:
            out = self.quantile_fn(q)
            return out.squeeze(-1) if self.univariate else out
        if self.probs is not None:
            raise MethodError(
                "`quantile`: expected values that have an order, received categories. "
                "Read their probabilities from `probs`."
            )
        if self.samples is not None:
            return _sample_quantiles(self.samples, q)
        if self.mean is None or self.stddev is None:
            raise MethodError(
                "`quantile`: expected a forecast with a covariance or samples, received neither. "
                "Forecast with num_samples=."
            )
        z = torch.special.ndtri(q).reshape(-1, *(1,) * self.mean.ndim)
        return self.mean + z * self.stddev

    def interval(self, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """The central interval: lower and upper ends, (*batch, h, m) each.

        Args:
            level: Its probability, between 0 and 1.

        Raises:
            InputError: The probability is 0 or less, or 1 or more.

        Example:
            >>> fc = Forecast(torch.zeros(2, 1), torch.ones(2, 1, 1), kind="exact")
            >>> [round(float(end[0, 0]), 2) for end in fc.interval(0.95)]
            [-1.96, 1.96]
        """
        if not 0 < level < 1:
            todo = "Give 0.9 for the central 90 %."
            raise InputError(expected("level", "a probability between 0 and 1", f"{level}", todo))
        lower, upper = self.quantile([0.5 - level / 2, 0.5 + level / 2])
        return lower, upper

    def sample(self, n: int, seed: int | None = None) -> Tensor:
        """Joint draws of the rows of y.

        Args:
            n: How many.
            seed: For the same draws again; a fresh one where it is None.

        Returns:
            (n, *batch, h, m). Where the method can draw no more, the samples it made are drawn
            from with replacement.

        Raises:
            MethodError: There is neither a sampler nor a sample.
        """
        n = read_count(n, name="n")
        generator = make_generator(seed, self.lengths.device)
        if self.sampler is not None:
            out = self.sampler(n, generator)
            return out.squeeze(-1) if self.univariate else out
        if self.samples is None:
            raise MethodError(
                "`sample`: expected a forecast with samples, received moments only. "
                "Forecast with num_samples=."
            )
        device, num = self.samples.device, len(self.samples)
        return self.samples[torch.randint(num, (n,), generator=generator, device=device)]

    def _series(self, i: int) -> Self:
        one = super()._series(i)
        where: tuple[Any, ...] = (slice(None), *position(i, self.batch_shape))
        if self.samples is not None:
            object.__setattr__(one, "samples", self.samples[where])
        joint, quantiles = self.sampler, self.quantile_fn
        if joint is not None:
            object.__setattr__(one, "sampler", lambda n, g: joint(n, g)[where])
        if quantiles is not None:
            object.__setattr__(one, "quantile_fn", lambda q: quantiles(q)[where])
        return one

    def to_frame(self, level: float = 0.9) -> Any:
        """A DataFrame whose index goes on where that of the data ended.

        Args:
            level: The probability of the central interval.

        Returns:
            Columns mean, stddev, lower and upper, under the name of each feature where the data
            had a feature axis; the probability of each value where y is categorical.
        """
        ones = list(self)
        starts = [0 if one.start is None else int(one.start) for one in ones]
        rows = [
            row_labels(one.index, self.horizon, True, start)
            for one, start in zip(ones, starts, strict=True)
        ]
        columns = [one._columns(level) for one in ones]
        return stack_series(columns, rows, self.batch_shape, self.index, self.univariate)

    def _columns(self, level: float) -> dict[Any, Any]:
        if self.probs is not None:
            names = names_of_y(self.index, self.probs.shape[-2], self.univariate)
            by_value = {f"P({v})": self.probs[..., v] for v in range(self.probs.shape[-1])}
            return to_columns(names, **by_value)
        assert self.mean is not None
        names = names_of_y(self.index, self.mean.shape[-1], self.univariate)
        lower, upper = self.interval(level)
        return to_columns(names, mean=self.mean, stddev=self.stddev, lower=lower, upper=upper)

    def __repr__(self) -> str:
        of_y = self.mean if self.mean is not None else self.probs
        assert of_y is not None
        m = 1 if self.univariate else of_y.shape[-1 if self.mean is not None else -2]
        drawn = "" if self.samples is None else f", {len(self.samples)} samples"
        return f"Forecast({self.kind}, {self._shapes()}, m={m}{drawn})".replace("T=", "horizon=")


def _sample_quantiles(samples: Tensor, q: Tensor) -> Tensor:
    """Linear interpolation between order statistics; `torch.quantile` has a limit on the size."""
    ordered = samples.to(q.dtype).sort(0).values
    at = q * (len(samples) - 1)
    low = at.floor().long()
    part = (at - low).reshape(-1, *(1,) * (samples.ndim - 1))
    return torch.lerp(ordered[low], ordered[at.ceil().long()], part)
