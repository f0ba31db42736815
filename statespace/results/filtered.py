"""`Filtered`: what is known of z_t from y_1 .. y_t."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from torch import Tensor

from statespace.results.frames import names_of_y, row_labels, stack_series, to_columns
from statespace.results.record import Axes, Record, check_kind, nothing, stddev
from statespace.sequences import Index

__all__ = ["Filtered"]


@dataclass(frozen=True, eq=False, repr=False)
class Filtered(Record):
    """Beliefs about z_t given y_1 .. y_t, and one-step-ahead predictions.

    What a model has no use for is None: a discrete state has `probs` and no moments. The features
    axis m is absent where the data had none. No field carries a gradient; the verb
    `log_likelihood` does. With `keep="means"` there are no covariances, and with `keep="last"` one
    row, the last of each series; to read what was not kept is a `FieldError`.

    Attributes:
        mean: E[z_t given y_1..y_t], (*batch, T, n).
        cov: Its covariance, (*batch, T, n, n).
        predicted_mean: E[z_t given y_1..y_{t-1}], (*batch, T, n); row 0 is the initial mean.
        predicted_cov: Its covariance, (*batch, T, n, n).
        y_mean: E[y_t given y_1..y_{t-1}], (*batch, T, m).
        y_cov: Its covariance, (*batch, T, m, m).
        innovations: y_t - y_mean_t, (*batch, T, m); NaN where not observed.
        increments: log p(y_t given y_1..y_{t-1}), (*batch, T).
        log_likelihood: log p(y), (*batch,).
        kind: What the log-likelihood is: exact, approximate, an estimate, or a lower bound.
        state: Where another verb can go on (of the whole batch; None in the record of one series).
        lengths: Rows of each series, (*batch,).
        index: Labels of the data, or None.
        univariate: Whether the data had no feature axis.
        probs: P(k_t given y_1..y_t), (*batch, T, K).
        predicted_probs: P(k_t given y_1..y_{t-1}), (*batch, T, K).
        repairs: How many covariances had to be repaired.
        seed: The seed that gives it again; None where nothing was drawn, or a state went on.
        keep: How much is held of it: "all", "means" or "last".
        start: The row of the data that row 0 is, (*batch,); None for row 0.
        ess: The effective sample size once y_t is seen, (*batch, T); None without particles.
        ancestors: Which particle of row t - 1 each particle of row t descends from,
            (*batch, T, K), -1 beyond each length; None without particles, or where there are too
            many of them to be held.
        particles: Their values, (*batch, T, K, n), likewise.
        lost: The first row at which every particle weighed nothing, so that the log-likelihood is
            -inf, (*batch,); -1 where there is none. The filter goes on with equal weights.

    Example:
        >>> import torch
        >>> f = Filtered(
        ...     mean=torch.zeros(2, 3, 1), cov=torch.ones(2, 3, 1, 1), lengths=torch.tensor([3, 2]),
        ...     log_likelihood=torch.tensor([-4.0, -3.0]), kind="exact",
        ... )
        >>> f
        Filtered(exact, batch=(2,), T=2..3, n=1, log_likelihood=-7)
        >>> f.mean[..., 0]
        tensor([[0., 0., 0.],
                [0., 0., nan]])
        >>> [tuple(one.mean.shape) for one in f]
        [(3, 1), (2, 1)]
    """

    layout: ClassVar[Mapping[str, Axes]] = {
        "mean": Axes(1),
        "cov": Axes(2),
        "predicted_mean": Axes(1),
        "predicted_cov": Axes(2),
        "y_mean": Axes(1, of_y=(-1,)),
        "y_cov": Axes(2, of_y=(-1, -1)),
        "innovations": Axes(1, of_y=(-1,)),
        "increments": Axes(0),
        "log_likelihood": Axes(0, rows=False),
        "probs": Axes(1),
        "predicted_probs": Axes(1),
        "start": Axes(0, rows=False),
        "ess": Axes(0),
        "ancestors": Axes(1, large=True),
        "particles": Axes(2, large=True),
        "lost": Axes(0, rows=False),
    }
    keeps: ClassVar[tuple[str, ...]] = ("all", "means", "last")

    mean: Tensor | None = None
    cov: Tensor | None = field(default_factory=nothing)
    predicted_mean: Tensor | None = None
    predicted_cov: Tensor | None = field(default_factory=nothing)
    y_mean: Tensor | None = None
    y_cov: Tensor | None = field(default_factory=nothing)
    innovations: Tensor | None = None
    increments: Tensor | None = None
    log_likelihood: Tensor = field(kw_only=True)
    kind: str = field(kw_only=True)
    state: Any = None
    lengths: Tensor = field(kw_only=True)
    index: Index | None = None
    univariate: bool = False
    probs: Tensor | None = None
    predicted_probs: Tensor | None = None
    repairs: int = 0
    seed: int | None = field(default=None, kw_only=True)
    keep: str = field(default="all", kw_only=True)
    start: Tensor | None = field(default=None, kw_only=True)
    ess: Tensor | None = field(default=None, kw_only=True)
    ancestors: Tensor | None = field(default_factory=nothing, kw_only=True)
    particles: Tensor | None = field(default_factory=nothing, kw_only=True)
    lost: Tensor | None = field(default=None, kw_only=True)
    settled: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        check_kind(self.kind)
        super().__post_init__()

    @property
    def stddev(self) -> Tensor | None:
        """Standard deviations of z_t given y_1..y_t, (*batch, T, n)."""
        return None if self.cov is None else stddev(self.cov)

    @property
    def y_stddev(self) -> Tensor | None:
        """Standard deviations of the one-step-ahead predictions, (*batch, T, m)."""
        return None if self.y_cov is None else stddev(self.y_cov, self.univariate)

    def _series(self, i: int) -> Self:
        one = super()._series(i)
        object.__setattr__(one, "state", None)  # a state belongs to its whole batch
        return one

    def to_frame(self) -> Any:
        """A DataFrame with the index of the data and columns (what it is of, which number).

        Columns are (z[i], mean | stddev), (k, P(value)) for a discrete state, and
        (feature, prediction | stddev | innovation).
        """
        ones = list(self)
        starts = [0 if one.start is None else int(one.start) for one in ones]
        rows = [
            row_labels(one.index, int(one.lengths), start=start)
            for one, start in zip(ones, starts, strict=True)
        ]
        columns = [one._columns() for one in ones]
        return stack_series(columns, rows, self.batch_shape, self.index)

    def _columns(self) -> dict[Any, Any]:
        out = state_columns(self.mean, getattr(self, "stddev", None), self.probs)
        if self.y_mean is not None:
            names = names_of_y(self.index, self.y_mean.shape[-1], self.univariate)
            out |= to_columns(
                names,
                prediction=self.y_mean,
                stddev=getattr(self, "y_stddev", None),
                innovation=self.innovations,
            )
        return out

    def __repr__(self) -> str:
        return describe(self)


def state_columns(
    mean: Tensor | None, spread: Tensor | None, probs: Tensor | None
) -> dict[Any, Any]:
    """Columns of the state of one series."""
    out: dict[Any, Any] = {}
    if mean is not None:
        names = [f"z[{i}]" for i in range(mean.shape[-1])]
        out |= to_columns(names, mean=mean, stddev=spread)
    if probs is not None:
        for k in range(probs.shape[-1]):
            out |= to_columns(["k"], **{f"P({k})": probs[..., k]})
    return out


def describe(record: Any) -> str:
    """The repr of a filtered or a smoothed record."""
    words = [record.kind, record._shapes()]
    words += [f"n={record.mean.shape[-1]}"] if record.mean is not None else []
    words += [f"K={record.probs.shape[-1]}"] if record.probs is not None else []
    if record.y_mean is not None and not record.univariate:
        words.append(f"m={record.y_mean.shape[-1]}")
    words.append(f"log_likelihood={float(record.log_likelihood.sum()):.7g}")
    words += [f"repairs={int(record.repairs)}"] if record.repairs else []
    words += [f'keep="{record.keep}"'] if record.keep != "all" else []
    return f"{type(record).__name__}({', '.join(words)})"
