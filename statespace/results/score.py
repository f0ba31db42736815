"""`Score`: how well a model predicted data, as one number with its units."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from statespace.results.record import check_kind

__all__ = ["Score"]


@dataclass(frozen=True)
class Score:
    """A log-likelihood, pooled over series, in nats and in the units of the data.

    Numbers may be given per series, as tensors: values and counts are added up, standard errors
    are added in squares.

    Attributes:
        value: The total.
        stderr: Its standard error over the random numbers of the method; NaN where it is exact
            or there is none.
        kind: exact, approximate, an estimate, or a lower bound.
        n_steps: Rows with at least one observed entry.
        n_values: Observed entries.
        num_samples: How many samples or particles the method used; None where it needs none.
        seed: The seed that gives it again; None where it was not needed.

    Example:
        >>> Score(-630.0, kind="exact", n_steps=100, n_values=100)
        Score(-630 exact; -6.3 per step (100), -6.3 per value (100))
    """

    value: float
    stderr: float = math.nan
    kind: str = "exact"
    n_steps: int = 0
    n_values: int = 0
    num_samples: int | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        check_kind(self.kind)
        error: Any = self.stderr
        error = float(error.square().sum().sqrt()) if isinstance(error, Tensor) else float(error)
        object.__setattr__(self, "value", float(_total(self.value)))
        object.__setattr__(self, "stderr", error)
        object.__setattr__(self, "n_steps", int(_total(self.n_steps)))
        object.__setattr__(self, "n_values", int(_total(self.n_values)))

    @property
    def per_step(self) -> float:
        """The value over the rows with at least one observed entry ("per frame")."""
        return self.value / self.n_steps if self.n_steps else math.nan

    @property
    def per_value(self) -> float:
        """The value over the observed entries."""
        return self.value / self.n_values if self.n_values else math.nan

    def __repr__(self) -> str:
        error = "" if math.isnan(self.stderr) else f" +- {self.stderr:.2g}"
        drawn = "" if self.num_samples is None else f" from {self.num_samples} samples"
        return (
            f"Score({self.value:.7g}{error} {self.kind}{drawn}; "
            f"{self.per_step:.5g} per step ({self.n_steps}), "
            f"{self.per_value:.5g} per value ({self.n_values}))"
        )


def _total(x: Any) -> Any:
    return x.sum() if isinstance(x, Tensor) else x
