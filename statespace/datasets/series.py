"""Classic time series of one or a few variables, as `(T, columns)`."""

import csv
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, Literal, overload

import numpy as np
import torch
from torch import Tensor

from statespace.datasets.folder import locate
from statespace.errors import InputError, expected

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["air_passengers", "lynx", "nile", "sunspots", "sunspots_monthly", "uk_seatbelts"]


@overload
def nile(*, frame: Literal[False] = ...) -> Tensor: ...
@overload
def nile(*, frame: Literal[True]) -> "DataFrame": ...
def nile(*, frame: bool = False) -> "Tensor | DataFrame":
    """Annual flow of the river Nile at Aswan, 1871 to 1970, in 10^8 cubic metres.

    The flow drops around 1899, when the first dam was begun. The standard example of the local
    level model.

    Args:
        frame: Return a DataFrame with a yearly PeriodIndex and the column `flow`.

    Returns:
        The series, `(100, 1)`, float64.

    Source:
        G. W. Cobb (1978), The problem of the Nile: conditional solution to a changepoint problem,
        Biometrika 65, 243-251; analysed throughout J. Durbin and S. J. Koopman (2012), Time Series
        Analysis by State Space Methods, chapter 2.

    Example:
        >>> nile()[:3, 0].tolist()
        [1120.0, 1160.0, 963.0]
        >>> print(nile(frame=True).head(2))
                flow
        time
        1871  1120.0
        1872  1160.0
    """
    return _shipped("nile", frame=frame)


@overload
def sunspots(*, frame: Literal[False] = ...) -> Tensor: ...
@overload
def sunspots(*, frame: Literal[True]) -> "DataFrame": ...
def sunspots(*, frame: bool = False) -> "Tensor | DataFrame":
    """Yearly mean relative sunspot numbers, 1700 to 1988.

    Counts on a cycle of about eleven years whose height varies; their spread grows with their
    level, so that a square root is often taken first.

    Args:
        frame: Return a DataFrame with a yearly PeriodIndex and the column `sunspots`.

    Returns:
        The series, `(289, 1)`, float64.

    Source:
        H. Tong (1996), Non-linear Time Series: A Dynamical System Approach, Clarendon Press,
        p. 471; the numbers are those of the observatory of Zurich, before their revision of 2015.

    Example:
        >>> sunspots()[-1].item()
        100.2
    """
    return _shipped("sunspots", frame=frame)


@overload
def lynx(*, frame: Literal[False] = ...) -> Tensor: ...
@overload
def lynx(*, frame: Literal[True]) -> "DataFrame": ...
def lynx(*, frame: bool = False) -> "Tensor | DataFrame":
    """Lynx trapped in the Mackenzie River district of Canada each year, 1821 to 1934.

    A population cycle of about ten years; usually analysed as log10.

    Args:
        frame: Return a DataFrame with a yearly PeriodIndex and the column `trappings`.

    Returns:
        The series, `(114, 1)`, float64.

    Source:
        C. Elton and M. Nicholson (1942), The ten-year cycle in numbers of the lynx in Canada,
        Journal of Animal Ecology 11, 215-244; M. J. Campbell and A. M. Walker (1977), JRSS A 140.

    Example:
        >>> lynx()[:3, 0].tolist()
        [269.0, 321.0, 585.0]
    """
    return _shipped("lynx", frame=frame)


@overload
def air_passengers(*, frame: Literal[False] = ...) -> Tensor: ...
@overload
def air_passengers(*, frame: Literal[True]) -> "DataFrame": ...
def air_passengers(*, frame: bool = False) -> "Tensor | DataFrame":
    """International airline passengers each month, January 1949 to December 1960, in thousands.

    Trend and season grow together; usually analysed as logarithms.

    Args:
        frame: Return a DataFrame with a monthly PeriodIndex and the column `passengers`.

    Returns:
        The series, `(144, 1)`, float64.

    Source:
        G. E. P. Box, G. M. Jenkins and G. C. Reinsel (1976), Time Series Analysis: Forecasting
        and Control, third edition, Holden-Day, Series G.

    Example:
        >>> print(air_passengers(frame=True).tail(2))
                 passengers
        time
        1960-11       390.0
        1960-12       432.0
    """
    return _shipped("air_passengers", frame=frame)


@overload
def uk_seatbelts(
    columns: str | Sequence[str] | None = ..., *, frame: Literal[False] = ...
) -> Tensor: ...
@overload
def uk_seatbelts(
    columns: str | Sequence[str] | None = ..., *, frame: Literal[True]
) -> "DataFrame": ...
def uk_seatbelts(
    columns: str | Sequence[str] | None = None, *, frame: bool = False
) -> "Tensor | DataFrame":
    """Road casualties in Great Britain each month, January 1969 to December 1984.

    Seat belts were made compulsory on 31 January 1983. The columns, in their order:

    0. `drivers_killed`: car drivers killed
    1. `drivers`: car drivers killed or seriously injured (the series usually modelled, as a log)
    2. `front`: front-seat passengers killed or seriously injured
    3. `rear`: rear-seat passengers killed or seriously injured
    4. `kms`: distance driven
    5. `petrol_price`: price of petrol
    6. `van_killed`: drivers of vans (light goods vehicles) killed
    7. `law`: 1 where the law was in effect, from February 1983

    Args:
        columns: The name of one column, or the names of several in the order wanted; all of them
            where None.
        frame: Return a DataFrame with a monthly PeriodIndex.

    Returns:
        The series, `(192, 8)` or `(192, number of columns)`, float64.

    Raises:
        InputError: A column does not exist.

    Source:
        A. C. Harvey and J. Durbin (1986), The effects of seat belt legislation on British road
        casualties: a case study in structural time series modelling, JRSS A 149, 187-227;
        A. C. Harvey (1989), Forecasting, Structural Time Series Models and the Kalman Filter,
        pp. 519-523.

    Example:
        >>> uk_seatbelts().shape, uk_seatbelts(["drivers", "law"])[0].tolist()
        (torch.Size([192, 8]), [1687.0, 0.0])
    """
    return _shipped("uk_seatbelts", columns=columns, frame=frame)


def sunspots_monthly() -> Tensor:
    """Monthly mean relative sunspot numbers, January 1749 to December 1983.

    Read from `sunspots.csv` in the folder that `STATESPACE_DATA` names.

    Returns:
        The series, `(2820, 1)`, float64.

    Raises:
        DataError: The file is not there.

    Source:
        D. F. Andrews and A. M. Herzberg (1985), Data: A Collection of Problems from Many Fields,
        Springer.
    """
    path = locate(
        "sunspots.csv",
        "Fetch csv/datasets/sunspots.csv (columns rownames, time, value) from the Rdatasets "
        "collection of Vincent Arel-Bundock.",
    )
    return torch.from_numpy(np.loadtxt(path, delimiter=",", skiprows=1, usecols=2, ndmin=2).copy())


def _shipped(
    name: str, *, frame: bool, columns: str | Sequence[str] | None = None
) -> "Tensor | DataFrame":
    """One of the files beside this module: a column `time`, then the values."""
    text = resources.files(__package__).joinpath(f"{name}.csv").read_text(encoding="utf-8")
    (_, *header), *rows = csv.reader(text.splitlines())
    chosen = [columns] if isinstance(columns, str) else list(columns or header)
    if unknown := [column for column in chosen if column not in header]:
        wanted = f"names out of {', '.join(header)}"
        raise InputError(expected("columns", wanted, repr(unknown), "Correct the name."))
    places = [1 + header.index(column) for column in chosen]
    values = torch.tensor([[float(row[j]) for j in places] for row in rows], dtype=torch.float64)
    if not frame:
        return values
    import pandas as pd

    times = [row[0] for row in rows]
    index = pd.PeriodIndex(times, freq="M" if "-" in times[0] else "Y", name="time")
    return pd.DataFrame(values.numpy(), index=index, columns=chosen)
