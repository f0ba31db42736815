"""What the figures share: their colours, their frames, and the labels of time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from statespace.errors import InputError, InputTypeError, expected

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "BAND",
    "DATA",
    "MEAN",
    "MUTED",
    "OTHER",
    "array",
    "check_record",
    "count_along_x",
    "figure",
    "legend_above",
    "name_of_time",
    "normal_quantile",
    "one_series",
    "ticks",
    "tidy",
    "time_along_x",
]

DATA = "#1a1a1a"  # Okabe and Ito's colours, which colour-blind readers can tell apart
MEAN = "#0072b2"
BAND = "#0072b2"
OTHER = "#d55e00"
MUTED = "#8c8c8c"


def figure(
    rows: int, columns: int, size: tuple[float, float], *, share_time: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure of its own, outside pyplot, and its axes row by row."""
    from matplotlib.figure import Figure

    fig = Figure(figsize=size, layout="constrained")
    axes = fig.subplots(rows, columns, squeeze=False, sharex="col" if share_time else False)
    return fig, list(axes.flat)


def tidy(ax: Axes, title: str = "", x: str = "", y: str = "") -> None:
    """Title to the left, no frame at the top and the right, labels."""
    ax.set_title(title, loc="left", fontsize="medium")
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.spines[["top", "right"]].set_visible(False)
    ax.margins(x=0.02)


def legend_above(ax: Axes) -> None:
    """A legend to the right of the title, where no data can be."""
    ax.legend(
        frameon=False,
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        borderaxespad=0.1,
        ncols=6,
        columnspacing=1.2,
        handlelength=1.4,
        fontsize="small",
    )


def count_along_x(ax: Axes) -> None:
    """Ticks at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))


def time_along_x(ax: Axes, t: Any, name: str) -> None:
    """The name of time, and ticks at whole rows where rows are counted."""
    ax.set_xlabel(name)
    if t.dtype.kind in "iu":
        count_along_x(ax)


def array(x: Any) -> Any:
    """A tensor, an array or a column of pandas as a new numpy array in float64."""
    return np.array(x.detach().cpu().numpy() if isinstance(x, Tensor) else x, dtype=np.float64)


def normal_quantile(level: float) -> float:
    """Half the width of the central interval of a standard normal with probability `level`."""
    if not 0 < level < 1:
        raise InputError(
            expected("level", "a probability between 0 and 1", f"{level}", "Give 0.95, say.")
        )
    return float(torch.special.ndtri(torch.tensor(0.5 + level / 2, dtype=torch.float64)))


def check_record(name: str, record: Any, kind: type, verb: str) -> None:
    """Refuses what is not the record that a figure shows."""
    if not isinstance(record, kind):
        todo = f"Give what {verb} returns."
        raise InputTypeError(expected(name, f"a {kind.__name__}", type(record).__name__, todo))


def one_series(record: Any, series: int) -> Any:
    """One series of a record, without padding."""
    count = len(record)
    if isinstance(series, bool) or not isinstance(series, int) or not 0 <= series < count:
        raise InputError(
            expected("series", f"from 0 to {count - 1}", f"{series!r}", "Choose one of them.")
        )
    return record if not record.batch_shape else list(record)[series]


def ticks(labels: Any) -> Any:
    """Row labels as matplotlib can place them: dates as dates, words as row numbers."""
    import pandas as pd

    if isinstance(labels, pd.PeriodIndex):
        labels = labels.to_timestamp()
    if isinstance(labels, pd.DatetimeIndex) or pd.api.types.is_numeric_dtype(labels):
        return labels.to_numpy()
    return np.arange(len(labels))


def name_of_time(labels: Any) -> str:
    """The name of the row labels, "t" where they are numbers without one, nothing for dates."""
    import pandas as pd

    dates = isinstance(labels, pd.PeriodIndex | pd.DatetimeIndex)
    return str(labels.name) if labels.name is not None else "" if dates else "t"
