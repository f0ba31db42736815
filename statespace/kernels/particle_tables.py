"""What the loops over particles are handed and what they fill. Needs no compiler.

Particles of a series stand in blocks of eight, entry i of all of a block side by side, so that a
block is lane memory; weights stand one after the other.
"""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["SCHEMES", "How", "Net", "Seen", "Swarm", "Told"]

SCHEMES = {"systematic": 0, "stratified": 1, "multinomial": 2, "residual": 3}


class Net(NamedTuple):
    """A model as activations of affine maps; axes of series and of time may have length 1.

    Attributes:
        first, spread: The mean of z_1 and a root of its covariance, (series, n), (series, n, k).
        a, b, q: (series, T, n, n), (series, T, n), roots of Q (series, T, n, r).
        c, d: (series, T, m, n), (series, T, m).
        e, f: The logarithms of scales, likewise; of no rows of time where the scale is one.
        r: R, (series, T, m, m).
        whiten, constant: By pattern of what is observed, (patterns, m, m) and (patterns,): what a
            residual is multiplied with, zero where nothing is observed, and the log density at a
            residual of zero.
        some: By pattern, which entries are observed, (patterns, m), 1.0 or 0.0.
        g, f_of_y: Codes of the activations.
    """

    first: Any
    spread: Any
    a: Any
    b: Any
    q: Any
    c: Any
    d: Any
    e: Any
    f: Any
    r: Any
    whiten: Any
    constant: Any
    some: Any
    g: Any
    f_of_y: Any


class Seen(NamedTuple):
    """Data.

    Attributes:
        y: (series, T, m).
        pattern: (series, T) int64; negative where nothing is observed.
        lengths: (series,) int64.
    """

    y: Any
    pattern: Any
    lengths: Any


class How(NamedTuple):
    """How particles are selected.

    Attributes:
        num: K.
        enough: The effective sample size up to which they are; negative for never.
        scheme: see `SCHEMES`.
        skip: Random numbers of a row, over all series, before those of the noise.
        defence: The share of ancestors that are chosen without a look ahead; negative where
            nobody looks ahead.
    """

    num: Any
    enough: Any
    scheme: Any
    skip: Any
    defence: Any


class Swarm(NamedTuple):
    """Where the particles are, in and out.

    Attributes:
        x: (series, 2, blocks * n * 8): `side` says which of the two.
        log_weight, weight: (series, blocks * 8); -inf and 0 behind the last.
        off: What is still to be taken off the log weights, (series,); 0 where they, and the
            weights, are normalised.
        size: Effective sample sizes, (series,).
        side: (series,) int64.
    """

    x: Any
    log_weight: Any
    weight: Any
    off: Any
    size: Any
    side: Any


class Told(NamedTuple):
    """What is told of each row, out; of no rows what is not wanted.

    Attributes:
        increments, size: (series, T).
        mean, cov, predicted_mean, predicted_cov, y_mean, y_cov: (series, T, ...), all or none.
        ancestors: (series, T, K) int32.
        points: (series, T, K, n).
        weights: Log weights, (series, T, K).
    """

    increments: Any
    size: Any
    mean: Any
    cov: Any
    predicted_mean: Any
    predicted_cov: Any
    y_mean: Any
    y_cov: Any
    ancestors: Any
    points: Any
    weights: Any
