"""`Sequences`: data behind the door."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from statespace.shapes import active_rows, tmap

__all__ = ["Sequences"]


@dataclass(frozen=True, eq=False, repr=False)
class Sequences:
    """A batch of series: no NaN, no sentinels; what was not observed is False in a mask.

    Attributes:
        values: Observations (*batch, T, m), 0 where nothing was observed. The model's dtype, or
            int64 for categories.
        observed: What was observed, (*batch, T, m) booleans; False beyond each length.
        lengths: Rows of each series, (*batch,) int64, each from 1 to T.
        inputs: (*batch, T, p); p may be 0.
        condition: What the whole series is conditioned on: a tree of tensors, () if nothing.
        index: Labels for `to_frame`; None where plain tensors came.
        univariate: The data had no feature axis, so results have none.
        ragged_list: The data came as a list of series.
        future_inputs: Inputs of the rows to forecast, (*batch, horizon, p), else None.

    Example:
        >>> y = torch.tensor([[1.0], [float("nan")], [3.0]])
        >>> data = Sequences(y.nan_to_num(), ~y.isnan(), torch.tensor(3), torch.zeros(3, 0))
        >>> data.T, data.m, data.p, data.complete, int(data.n_values), int(data.n_steps)
        (3, 1, 0, False, 2, 2)
    """

    values: Tensor
    observed: Tensor
    lengths: Tensor
    inputs: Tensor
    condition: Any = ()
    index: Any = None
    univariate: bool = False
    ragged_list: bool = False
    future_inputs: Tensor | None = None
    _complete: bool | None = field(default=None)  # what the door already knows

    @property
    def batch_shape(self) -> torch.Size:
        """The shape of `lengths`."""
        return self.lengths.shape

    @property
    def T(self) -> int:
        """Rows, padding included."""
        return self.values.shape[-2]

    @property
    def m(self) -> int:
        """Features of an observation."""
        return self.values.shape[-1]

    @property
    def p(self) -> int:
        """Features of an input."""
        return self.inputs.shape[-1]

    @cached_property
    def active(self) -> Tensor:
        """Rows inside their series, (*batch, T) booleans."""
        return active_rows(self.lengths, self.T)

    @cached_property
    def complete(self) -> bool:
        """Whether every row inside its series was fully observed."""
        if self._complete is not None:
            return self._complete
        return bool((self.observed.all(-1) == self.active).all())

    @cached_property
    def n_values(self) -> Tensor:
        """Observed entries of each series, (*batch,) int64."""
        return self.lengths * self.m if self.complete else self.observed.sum((-2, -1))

    @cached_property
    def n_steps(self) -> Tensor:
        """Rows of each series with at least one observed entry, (*batch,) int64."""
        return self.lengths.clone() if self.complete else self.observed.any(-1).sum(-1)

    def __repr__(self) -> str:
        seen, rows = int(self.n_values.sum()), int(self.lengths.sum())
        return (
            f"Sequences(batch={tuple(self.batch_shape)}, T={self.T}, m={self.m}, p={self.p}, "
            f"{seen} of {rows * self.m} values observed)"
        )

    def rows(self, start: int, stop: int) -> Sequences:
        """Rows start <= t < stop of every series; a series that ends before has length 0."""
        span = slice(start, stop)
        return replace(
            self,
            values=self.values[..., span, :],
            observed=self.observed[..., span, :],
            lengths=(self.lengths - start).clamp(0, min(stop, self.T) - start),
            inputs=self.inputs[..., span, :],
            index=None if self.index is None else self.index.rows(start, stop),
            future_inputs=None,
            _complete=True if self._complete else None,
        )

    def select(self, series: Tensor) -> Sequences:
        """Some of the series (a minibatch), cut to the longest of them.

        Args:
            series: Positions on the first batch axis, (N,) int64.

        Returns:
            The same data with batch shape (N, ...).
        """
        lengths = self.lengths[series]
        longest = int(lengths.max())
        index = self.index if self.lengths.ndim == 1 else None
        return replace(
            self,
            values=self.values[series, ..., :longest, :],
            observed=self.observed[series, ..., :longest, :],
            lengths=lengths,
            inputs=self.inputs[series, ..., :longest, :],
            condition=tmap(lambda x: x[series], self.condition),
            index=None if index is None else index.select(series.tolist()),
            future_inputs=None if self.future_inputs is None else self.future_inputs[series],
            _complete=True if self._complete else None,
        )

    def to(self, device: torch.device | str) -> Sequences:
        """The same data on another device."""

        def move(x: Tensor) -> Tensor:
            return x.to(device)

        return replace(
            self,
            values=move(self.values),
            observed=move(self.observed),
            lengths=move(self.lengths),
            inputs=move(self.inputs),
            condition=tmap(move, self.condition),
            future_inputs=None if self.future_inputs is None else move(self.future_inputs),
        )
