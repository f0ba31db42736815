"""What labels rows, columns and series: taken off the data at the door, put back by `to_frame`."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from statespace.errors import place

__all__ = ["Index", "named_place"]


@dataclass(frozen=True)
class Index:
    """Labels of a batch of series.

    Attributes:
        names: The names of the features, or None.
        times: One pandas index per series (its rows, without padding), or None.
        ids: One label per series, or None; a tuple where a panel had several id levels.
        id_names: The names of the id levels.
    """

    names: tuple[Hashable, ...] | None = None
    times: tuple[Any, ...] | None = None
    ids: tuple[Hashable, ...] | None = None
    id_names: tuple[Hashable, ...] = ()

    def select(self, series: int | list[int]) -> Index:
        """The labels of one series, or of some of them, by position."""
        if isinstance(series, int):
            times = None if self.times is None else (self.times[series],)
            return Index(self.names, times)
        times = None if self.times is None else tuple(self.times[i] for i in series)
        ids = None if self.ids is None else tuple(self.ids[i] for i in series)
        return replace(self, times=times, ids=ids)

    def rows(self, start: int, stop: int) -> Index:
        """The labels of rows start <= t < stop of every series."""
        if self.times is None:
            return self
        return replace(self, times=tuple(t[start:stop] for t in self.times))

    def future(self, series: int, horizon: int) -> Any:
        """The `horizon` labels that follow those of a series.

        Dates go on with the frequency of their index (given or inferred), periods with their own,
        and numbers with their constant step. Where there is none, the rows are numbered 1, 2, ...
        and the index is called "step ahead".

        Example:
            >>> import pandas as pd
            >>> years = pd.period_range("1871", periods=3, freq="Y")
            >>> list(Index(times=(years,)).future(0, 2).astype(str))
            ['1874', '1875']
            >>> list(Index(times=(pd.Index([0.0, 0.5, 1.0]),)).future(0, 2))
            [1.5, 2.0]
        """
        assert self.times is not None
        return _continue(self.times[series], horizon)


def named_place(series: Sequence[int], row: int, column: int, index: Index | None) -> str:
    """A place in the data, with the labels it has there.

    Example:
        >>> named_place((1,), 4, 0, Index(names=("flow",), ids=("Nile", "Rhine")))
        "series 1, row 4, column 0 (series 'Rhine', column 'flow')"
    """
    labels = []
    if index is not None:
        i = series[0] if len(series) == 1 else 0
        if index.ids is not None and len(series) == 1:
            labels.append(f"series {index.ids[i]!r}")
        if index.times is not None and len(index.times) > i and len(index.times[i]) > row:
            labels.append(f"row {index.times[i][row]!s}")
        if index.names is not None:
            labels.append(f"column {index.names[column]!r}")
    return place(series, row, column) + (f" ({', '.join(labels)})" if labels else "")


def _continue(times: Any, horizon: int) -> Any:
    import pandas as pd

    if isinstance(times, pd.PeriodIndex):
        return pd.period_range(times[-1] + 1, periods=horizon, freq=times.freq, name=times.name)
    if isinstance(times, pd.DatetimeIndex | pd.TimedeltaIndex):
        freq = times.freq or type(times)(times, freq="infer").freq
        if freq is not None:
            make = pd.date_range if isinstance(times, pd.DatetimeIndex) else pd.timedelta_range
            ahead = make(times[-1], periods=horizon + 1, freq=freq, name=times.name)
            return ahead[ahead > times[-1]][:horizon]
    elif isinstance(times, pd.RangeIndex):
        first = times[-1] + times.step
        stop = first + horizon * times.step
        return pd.RangeIndex(first, stop, times.step, name=times.name)
    elif pd.api.types.is_numeric_dtype(times) and len(times) > 1:
        steps = times[1:].to_numpy() - times[:-1].to_numpy()
        step = (times[-1] - times[0]) / (len(times) - 1)
        if abs(steps - step).max() <= 1e-9 * abs(step):
            step = steps[0] if pd.api.types.is_integer_dtype(times) else step
            return pd.Index([times[-1] + step * k for k in range(1, horizon + 1)], name=times.name)
    return pd.RangeIndex(1, horizon + 1, name="step ahead")
