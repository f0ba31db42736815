"""`Smoothed`: what is known of z_t from all of y."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import torch
from torch import Generator, Tensor

from statespace.errors import MethodError
from statespace.results.filtered import describe, state_columns
from statespace.results.frames import names_of_y, row_labels, stack_series, to_columns
from statespace.results.record import (
    Axes,
    Record,
    check_kind,
    make_generator,
    nothing,
    position,
    stddev,
)
from statespace.sequences import Index, read_count
from statespace.shapes import active_rows, align, tmap

__all__ = ["Smoothed"]


@dataclass(frozen=True, eq=False, repr=False)
class Smoothed(Record):
    """Beliefs about z_t, and about what was not observed, given all of y.

    No field carries a gradient; the verbs `log_likelihood` and `log_joint` do. With
    `keep="marginals"` there are no lag-one covariances (nor `pair_probs`), and with `keep="means"`
    no covariances at all; to read what was not kept is a `FieldError`. Draws hang on neither.

    Attributes:
        mean: E[z_t given y], (*batch, T, n).
        cov: Its covariance, (*batch, T, n, n).
        cross_cov: Row t is Cov(z_{t+1}, z_t given y), (*batch, T - 1, n, n).
        y_mean: E[y_t given y], (*batch, T, m): what was observed, and the imputation of the rest.
        y_cov: Its covariance, (*batch, T, m, m).
        log_likelihood: log p(y), (*batch,).
        kind: What the moments are: exact, approximate, an estimate, or a lower bound.
        lengths: Rows of each series, (*batch,).
        sampler: Joint draws of z given y: (n, generator) -> (n, *batch, T, ...).
        index: Labels of the data, or None.
        univariate: Whether the data had no feature axis.
        probs: P(k_t given y), (*batch, T, K).
        pair_probs: Row t is P(k_{t+1}, k_t given y), (*batch, T - 1, K, K).
        repairs: How many covariances had to be repaired.
        extra: What a method has to say beyond this.
        later: How to work out fields that are made when they are first read.
        seed: The seed that gives it again; None where nothing was drawn, or a state went on.
        keep: How much is held of it: "all", "marginals" or "means".

    Example:
        >>> s = Smoothed(
        ...     mean=torch.zeros(3, 1), cov=torch.ones(3, 1, 1), kind="exact",
        ...     log_likelihood=torch.tensor(-4.0), lengths=torch.tensor(3),
        ...     sampler=lambda n, g: torch.randn(n, 3, 1, generator=g),
        ... )
        >>> s, s.sample(100, seed=0).shape
        (Smoothed(exact, T=3, n=1, log_likelihood=-4), torch.Size([100, 3, 1]))
    """

    layout: ClassVar[Mapping[str, Axes]] = {
        "mean": Axes(1),
        "cov": Axes(2),
        "cross_cov": Axes(2, short=1),
        "y_mean": Axes(1, of_y=(-1,)),
        "y_cov": Axes(2, of_y=(-1, -1)),
        "log_likelihood": Axes(0, rows=False),
        "probs": Axes(1),
        "pair_probs": Axes(2, short=1),
    }
    keeps: ClassVar[tuple[str, ...]] = ("all", "marginals", "means")

    mean: Tensor | None = None
    cov: Tensor | None = field(default_factory=nothing)
    cross_cov: Tensor | None = field(default_factory=nothing)
    y_mean: Tensor | None = field(default_factory=nothing)
    y_cov: Tensor | None = field(default_factory=nothing)
    log_likelihood: Tensor = field(kw_only=True)
    kind: str = field(kw_only=True)
    lengths: Tensor = field(kw_only=True)
    sampler: Callable[[int, Generator], Any] | None = None
    index: Index | None = None
    univariate: bool = False
    probs: Tensor | None = None
    pair_probs: Tensor | None = field(default_factory=nothing)
    repairs: int = 0
    extra: Any = None
    later: Mapping[str, Callable[[], Tensor]] = field(default_factory=dict, kw_only=True)
    seed: int | None = field(default=None, kw_only=True)
    keep: str = field(default="all", kw_only=True)
    settled: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        check_kind(self.kind)
        super().__post_init__()

    @property
    def stddev(self) -> Tensor | None:
        """Standard deviations of z_t given y, (*batch, T, n)."""
        return None if self.cov is None else stddev(self.cov)

    @property
    def y_stddev(self) -> Tensor | None:
        """Standard deviations of y_t given y, (*batch, T, m); 0 where it was observed."""
        return None if self.y_cov is None else stddev(self.y_cov, self.univariate)

    def sample(self, n: int, seed: int | None = None) -> Any:
        """Joint draws of z_1 .. z_T given y.

        Args:
            n: How many.
            seed: For the same draws again; a fresh one where it is None.

        Returns:
            (n, *batch, T, n_latent), NaN beyond each length; a tree of such where z is one.

        Raises:
            MethodError: The method that made this record cannot draw jointly.
        """
        n = read_count(n, name="n")
        if self.sampler is None:
            raise MethodError(
                "`sample`: expected a method that draws whole paths given y, received a record of "
                "one that does not. Smooth with another method, such as ParticleFilter."
            )
        draws = self.sampler(n, make_generator(seed, self.lengths.device))

        def blank(x: Tensor) -> Tensor:
            inside = active_rows(self.lengths, x.shape[self.lengths.ndim + 1])[None]
            if not x.is_floating_point() or bool(inside.all()):
                return x
            return x.masked_fill(~align(inside, x.ndim), torch.nan)

        return tmap(blank, draws)

    def _series(self, i: int) -> Self:
        one = super()._series(i)
        where, length, joint = position(i, self.batch_shape), int(one.lengths), self.sampler
        if joint is not None and where:

            def draw(n: int, generator: Generator) -> Any:
                return tmap(lambda x: x[(slice(None), *where)][:, :length], joint(n, generator))

            object.__setattr__(one, "sampler", draw)
        return one

    def to_frame(self) -> Any:
        """A DataFrame with the index of the data.

        Columns are (z[i], mean | stddev), (k, P(value)) for a discrete state, and
        (feature, mean | stddev), which is what was observed where it was.
        """
        ones = list(self)
        rows = [row_labels(one.index, int(one.lengths)) for one in ones]
        columns = [one._columns() for one in ones]
        return stack_series(columns, rows, self.batch_shape, self.index)

    def _columns(self) -> dict[Any, Any]:
        out = state_columns(self.mean, getattr(self, "stddev", None), self.probs)
        if self.y_mean is not None:
            names = names_of_y(self.index, self.y_mean.shape[-1], self.univariate)
            out |= to_columns(names, mean=self.y_mean, stddev=getattr(self, "y_stddev", None))
        return out

    def __repr__(self) -> str:
        return describe(self)
