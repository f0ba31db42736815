"""What kernels are handed and what they fill: tuples of contiguous arrays. Needs no compiler."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = [
    "CODES",
    "Data",
    "Ends",
    "Filter",
    "Model",
    "Points",
    "Rows",
    "Score",
    "Second",
    "Shared",
    "Smooth",
]

CODES = {"identity": 0, "tanh": 1, "relu": 2, "sigmoid": 3, "softplus": 4}  # see `activations`


class Model(NamedTuple):
    """Arrays of sets of parameters; the axes of sets, series and time may have length 1.

    Attributes:
        a, q: (sets, T, n, n), and roots of Q (sets, T, n, r); row t acts on the step into z_t.
        b: (sets, series, T, n).
        c: (sets, T, m, n).
        d: (sets, series, T, m).
        r: Roots of R, (sets, T, m, q).
        dense: Whether R is dense, or the gradient in all of it is wanted; rows of r are orthogonal
            where not.
        x, s: The start, (sets, series, n, k) and a root (sets, series, n, n).
        cov: R itself, (sets, T, m, m), where it may be divided by; else of no rows.
    """

    a: Any
    b: Any
    q: Any
    c: Any
    d: Any
    r: Any
    x: Any
    s: Any
    cov: Any
    dense: Any


class Data(NamedTuple):
    """Observations of sets of series; the axis of sets may have length 1.

    Attributes:
        y: (sets, series, T, m).
        seen: The same, bytes; (1, 0, 0, 0) where everything was observed.
    """

    y: Any
    seen: Any


class Points(NamedTuple):
    """Sigma points xi_k and their weights; an entry of xi_k that is zero is not named.

    Attributes:
        starts: (K + 1,), where the entries of each point begin.
        which, xi: The entries, (all,) each: of which state, and its value.
        mean, cov: Weights in means and in covariances, (K,); none of the latter is negative.
    """

    starts: Any
    which: Any
    xi: Any
    mean: Any
    cov: Any


class Filter(NamedTuple):
    """Filtered moments, out, of a start with one column.

    Attributes:
        mean, predicted_mean: (sets, series, T, n), given y up to t and before t.
        cov, predicted_cov: (sets, series, T, n, n).
        increments: (sets, series, T), log p(y_t given y before t).
        root: (sets, series, n, n), of the filtered covariance at the last row; zeros before.
        last: In: the last row of each series, (sets, series).
    """

    mean: Any
    cov: Any
    predicted_mean: Any
    predicted_cov: Any
    increments: Any
    root: Any
    last: Any


class Ends(NamedTuple):
    """Filtered means, and all about the last row of each series, out; a start with one column.

    Attributes:
        mean, predicted_mean: (sets, series, T, n); of no rows where the last is enough.
        increments: (sets, series, T), of as many.
        end: (sets, 2, series, n), the mean before and after the last row was seen.
        roots: (sets, 2, series, n, n), of its covariance; zeros before.
        gain: (sets, series), its increment.
        last: In: the last row of each series, (sets, series).
    """

    mean: Any
    predicted_mean: Any
    increments: Any
    end: Any
    roots: Any
    gain: Any
    last: Any


class Rows(NamedTuple):
    """Filtered moments of a model that is linearised, out; an axis of length 0: not wanted.

    Nothing is where `ends.last` has no series.

    Attributes:
        ends: Means, and the last rows.
        covs: Filtered and predicted covariances, (2, sets, series, T, n, n).
        y_mean, y_cov: Of y before it is seen, (sets, series, T, m) and (sets, series, T, m, m);
            beside `covs` alone.
    """

    ends: Any
    covs: Any
    y_mean: Any
    y_cov: Any


class Smooth(NamedTuple):
    """Smoothed moments, out; an axis of length 0 where one is not wanted.

    Attributes:
        mean: (sets, series, T, n).
        cov: (sets, series, T, n, n).
        cross: (sets, series, T - 1, n, n), of z_{t+1} and z_t.
        noise: Q, (sets, T, n, n), which `cross` needs.
    """

    mean: Any
    cov: Any
    cross: Any
    noise: Any


class Score(NamedTuple):
    """Gradients, out, summed over the W series of a task; a time axis of 1 sums over time.

    Attributes:
        weight: In: of each series' log-likelihood, (sets, series); empty where not wanted.
        a, q: (sets, tasks, T, n * n), (sets, tasks, T, n (n + 1) / 2) packed, twice the gradient.
        c, r: (sets, tasks, T, m * n), (sets, tasks, T, m (m + 1) / 2) packed, twice the gradient.
        b, d: (sets, series, T, n), (sets, series, T, m).
        mean, cov: Of the start, (sets, series, n), (sets, series, n, n).
    """

    weight: Any
    a: Any
    q: Any
    c: Any
    r: Any
    b: Any
    d: Any
    mean: Any
    cov: Any


class Second(NamedTuple):
    """Sums of second moments of the smoothed states, out; empty where not wanted.

    Attributes:
        lengths: In: rows of each series, (sets, series); empty where that is T.
        read: (sets, tasks, (n + 1) (n + 2) / 2) packed, E[(z, 1)(z, 1)'] summed over rows with
            data and the W series of a task.
        move: The same over rows that another row of the series follows.
        mean, cov: Of the first row, (sets, series, n), (sets, series, n, n).
    """

    lengths: Any
    read: Any
    move: Any
    mean: Any
    cov: Any


class Shared(NamedTuple):
    """What `settle` leaves; an axis of time may have length 1, and then holds for all rows.

    Attributes:
        c: (sets, T, m, n), C after whitening.
        turn: (sets, T, m, m), L^-1 of R = L diag(r) L'; empty where R is not dense.
        gains: (sets, T, m, n), over the variances.
        inverse: (sets, T, m), one over the variances.
        ties: (sets, T, m, 3), entry i of y on the residuals absorbed before it in its block of 4.
        pf: (sets, T, n, n), filtered covariances.
    """

    c: Any
    turn: Any
    gains: Any
    inverse: Any
    ties: Any
    pf: Any
