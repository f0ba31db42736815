"""All questions at once, as a record that prints itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from statespace.diagnostics.checks import (
    Statistic,
    autocorrelations,
    heteroskedasticity,
    jarque_bera,
    ljung_box,
    moments,
)
from statespace.diagnostics.innovations import standardise
from statespace.errors import InputError, InputTypeError, expected, place
from statespace.results import Filtered
from statespace.results.frames import names_of_y
from statespace.results.record import position

__all__ = ["Diagnostics", "diagnose"]

_ROWS_SHOWN = 20


@dataclass(frozen=True)
class Diagnostics:
    """What the one-step-ahead errors say about a model, for each entry of each series.

    Attributes:
        standardised: Standardised innovations (*batch, T, m); NaN where there is none.
        autocorrelations: Of these, at lags 0 .. `lags`, (*batch, lags + 1, m).
        num_values: How many there are, (*batch, m).
        mean, variance, skewness, kurtosis: Their moments, (*batch, m): 0, 1, 0 and 3 if the model
            is right.
        ljung_box, normality, heteroskedasticity: The three tests, see the functions.
        lags: How many autocorrelations the Ljung-Box statistic pools.
        names: What the entries of y are called.
        series: What the series are called; empty where there is one.
        kind: Of the filtered record; the tests hold for the innovations of an exact filter.
    """

    standardised: Tensor
    autocorrelations: Tensor
    num_values: Tensor
    mean: Tensor
    variance: Tensor
    skewness: Tensor
    kurtosis: Tensor
    ljung_box: Statistic
    normality: Statistic
    heteroskedasticity: Statistic
    lags: int
    names: tuple[str, ...]
    series: tuple[str, ...]
    kind: str

    def summary(self) -> str:
        """A table in text: one row for each entry of each series, p-values in brackets."""
        columns = {
            "n": [f"{int(v)}" for v in self.num_values.reshape(-1)],
            "mean": _numbers(self.mean, "+.3f"),
            "variance": _numbers(self.variance, ".3f"),
            "skewness": _numbers(self.skewness, "+.2f"),
            "kurtosis": _numbers(self.kurtosis, ".2f"),
            f"Ljung-Box({self.lags})": _tested(self.ljung_box),
            "Jarque-Bera": _tested(self.normality),
            "H": _tested(self.heteroskedasticity),
        }
        labels = [f"{one}: {name}" for one in self.series for name in self.names] or self.names
        rows = [list(row) for row in zip(labels, *columns.values(), strict=True)]
        lines = [f"Standardised innovations ({self.kind} filter); p-values in brackets"]
        lines += _table([["", *columns], *rows[:_ROWS_SHOWN]])
        if len(rows) > _ROWS_SHOWN:
            lines.append(f"... and {len(rows) - _ROWS_SHOWN} more rows")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.summary()


def diagnose(filtered: Filtered, *, lags: int | None = None, fitted: int = 0) -> Diagnostics:
    """Tests the one-step-ahead errors of a filtered record.

    Rows that a diffuse start leaves without a finite variance, entries not observed, and rows
    beyond a series' end are left out.

    Args:
        filtered: What `model.filter(y)` returned; one series or many.
        lags: How many autocorrelations Ljung-Box pools; by default a fifth of the longest series,
            10 at most.
        fitted: Degrees of freedom taken off Ljung-Box for parameters that were estimated.

    Returns:
        The statistics, as a record; `print` it for a table.

    Raises:
        InputError: fewer than two rows, or lags that the series do not have.
        InputTypeError: no filtered record.

    Example:
        >>> import torch
        >>> e = torch.randn(200, 1, generator=torch.Generator().manual_seed(0))
        >>> f = Filtered(innovations=3.0 * e, y_cov=torch.full((200, 1, 1), 9.0), kind="exact",
        ...              log_likelihood=torch.tensor(0.0), lengths=torch.tensor(200))
        >>> print(diagnose(f))
        Standardised innovations (exact filter); p-values in brackets
                n    mean  variance  skewness  kurtosis  Ljung-Box(10)   Jarque-Bera             H
        ------------------------------------------------------------------------------------------
        y[0]  200  -0.023     0.931     +0.16      3.50   8.69 (0.562)  2.94 (0.230)  0.63 (0.059)
    """
    given: Any = filtered
    if not isinstance(given, Filtered):
        got, todo = type(given).__name__, "Give model.filter(y)."
        raise InputTypeError(expected("filtered", "a filtered record", got, todo))
    e = _standardised(filtered)
    there = e.isfinite()
    num_values = there.sum(-2)
    if lags is None:
        lags = max(1, min(10, int(num_values.max()) // 5))
    mean, variance, skewness, kurtosis = moments(e, there)
    return Diagnostics(
        standardised=e,
        autocorrelations=autocorrelations(e, lags),
        num_values=num_values,
        mean=mean,
        variance=variance,
        skewness=skewness,
        kurtosis=kurtosis,
        ljung_box=ljung_box(e, lags, fitted=fitted),
        normality=jarque_bera(e),
        heteroskedasticity=heteroskedasticity(e),
        lags=lags,
        names=tuple(str(v) for v in names_of_y(filtered.index, e.shape[-1], filtered.univariate)),
        series=_series(filtered),
        kind=filtered.kind,
    )


def _standardised(filtered: Filtered) -> Tensor:
    innovations, y_cov = filtered.innovations, filtered.y_cov
    if innovations is None or y_cov is None:
        raise InputError(
            expected(
                "filtered",
                "a record with innovations and their covariances",
                "one without",
                "Use a method with Gaussian predictions of y, such as Kalman.",
            )
        )
    if filtered.univariate:
        innovations, y_cov = innovations[..., None], y_cov[..., None, None]
    if innovations.shape[-2] < 2:
        raise InputError(
            expected(
                "filtered", "at least 2 rows", f"{innovations.shape[-2]}", "Filter a longer series."
            )
        )
    return standardise(innovations, y_cov)


def _series(filtered: Filtered) -> tuple[str, ...]:
    batch, index = filtered.batch_shape, filtered.index
    if not batch:
        return ()
    if index is not None and index.ids is not None and len(index.ids) == len(filtered):
        return tuple(str(v) for v in index.ids)
    return tuple(place(position(i, batch)) for i in range(len(filtered)))


def _numbers(values: Tensor, form: str) -> list[str]:
    return [f"{v:{form}}" for v in values.reshape(-1).tolist()]


def _tested(statistic: Statistic) -> list[str]:
    pairs = zip(
        statistic.value.reshape(-1).tolist(), statistic.p_value.reshape(-1).tolist(), strict=True
    )
    return [f"{value:.2f} ({p:.3f})" for value, p in pairs]


def _table(cells: Sequence[Sequence[str]]) -> list[str]:
    """Cells in aligned columns, the first to the left, a rule below the head."""
    widths = [max(len(row[j]) for row in cells) for j in range(len(cells[0]))]
    lines = []
    for row in cells:
        padded = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *padded[1:]]))
    return [lines[0], "-" * len(lines[0]), *lines[1:]]
