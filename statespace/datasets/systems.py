"""Measured input and output of physical systems, benchmarks of system identification."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from statespace.datasets.folder import locate
from statespace.errors import InputError, expected

__all__ = ["cascaded_tanks", "silverbox"]


def cascaded_tanks(
    part: Literal["estimation", "validation"] = "estimation",
) -> tuple[Tensor, Tensor]:
    """Two water tanks above each other, fed by a pump: the water level of the lower one.

    Sampled every 4 s. Both tanks may overflow, a hard saturation. The two parts are separate
    experiments with the same, unknown initial state. Read from `cascaded_tanks.csv` in the folder
    that `STATESPACE_DATA` names.

    Args:
        part: Which of the two experiments.

    Returns:
        Input (pump voltage) and output (level sensor voltage), both `(1024, 1)`, float64.

    Raises:
        DataError: The file is not there.
        InputError: `part` is neither of the two.

    Source:
        M. Schoukens and J. P. Noel (2017), Three benchmarks addressing open challenges in
        nonlinear system identification, IFAC-PapersOnLine 50, 446-451.
    """
    if part not in ("estimation", "validation"):
        wanted = '"estimation" or "validation"'
        raise InputError(expected("part", wanted, repr(part), "Choose one of the two."))
    path = locate(
        "cascaded_tanks.csv",
        "Fetch the Cascaded Tanks benchmark from nonlinearbenchmark.org and put its "
        "dataBenchmark.csv (columns uEst, uVal, yEst, yVal, Ts) there under this name.",
    )
    columns = (0, 2) if part == "estimation" else (1, 3)
    return _input_and_output(path, columns)


def silverbox() -> tuple[Tensor, Tensor]:
    """An electronic circuit that behaves as a mass on a spring which stiffens as it is stretched.

    Sampled at 610.35 Hz. The first 40,000 rows or so are noise of growing amplitude (the arrow
    head, usually the test), the rest ten realisations of an odd random-phase multisine (usually
    the training data). Read from `silverbox.csv` in the folder that `STATESPACE_DATA` names.

    Returns:
        Input and output, in volts, both `(131072, 1)`, float64.

    Raises:
        DataError: The file is not there.

    Source:
        T. Wigren and J. Schoukens (2013), Three free data sets for development and benchmarking
        in nonlinear system identification, European Control Conference, 2933-2938.
    """
    path = locate(
        "silverbox.csv",
        "Fetch the Silverbox benchmark from nonlinearbenchmark.org and put its SNLS80mV.csv "
        "(columns V1, V2) there under this name.",
    )
    return _input_and_output(path, (0, 1))


def _input_and_output(path: object, columns: tuple[int, int]) -> tuple[Tensor, Tensor]:
    table = np.loadtxt(str(path), delimiter=",", skiprows=1, usecols=columns, ndmin=2)
    u, y = torch.from_numpy(table).split(1, dim=1)
    return u.contiguous(), y.contiguous()
