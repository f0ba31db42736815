"""What the data cannot tell: moments of z_1 where few series begin, units where it is diffuse.

One draw of z_1 has no variance to show. With S <= n series the likelihood is highest, or without
any bound, where the covariance of z_1 is singular; what else is learned is spoilt on the way
there. So the covariance is not learned from so few:

    A stable: both moments are those of the stationary distribution of the estimated A, b, Q, which
        the whole of the series tells
    else: the covariance stays at its start; the mean is learned, unless there is one series only
        and the states have units of their own (C and Q both free), by a change of which any
        covariance becomes small

A diffuse start has a density in units of the state, which grows without end with these units where
C and Q are both free. Q then stays at its start, which says no more than the units do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from statespace.learning.objective import fits_as
from statespace.linalg import spectral_radius
from statespace.sequences import Sequences

__all__ = ["hold_unknowable"]


def hold_unknowable(lds: Any, data: Sequences) -> None:
    """Takes `requires_grad` from what the data cannot tell; see above."""
    noise = lds.slots["Q"].theta
    if "diffuse" in lds.kinds and noise is not None and _scale_free(lds):
        noise.requires_grad_(False)
    batch = torch.broadcast_shapes(data.batch_shape, lds.batch_shape)
    series = math.prod(batch) // max(math.prod(lds.batch_shape), 1)
    cov, mean = lds.slots["initial_cov"].theta, lds.slots["initial_mean"].theta
    if cov is None or series > lds.kinds.count("estimate"):
        return
    cov.requires_grad_(False)
    if mean is not None and _stable(lds):
        mean.requires_grad_(False)
        fits_as(partial(_as_stationary, lds))
    elif mean is not None and series == 1 and _scale_free(lds):
        mean.requires_grad_(False)


def _scale_free(lds: Any) -> bool:
    """Whether nothing that is held sets the units of the states."""
    c, q = lds.slots["C"], lds.slots["Q"]
    return c.n_free > 0 and q.n_free > 0 and not bool((c.held != 0).any() | (q.held != 0).any())


def _stable(lds: Any) -> bool:
    """Whether z has a stationary distribution, which both moments may stand for."""
    slots = [lds.slots[name] for name in ("A", "b", "Q")]
    moments = [lds.slots[name] for name in ("initial_mean", "initial_cov")]
    whole = all(slot.pattern.free.all() for slot in moments)
    if not whole or set(lds.kinds) != {"estimate"} or any(slot.varies for slot in slots):
        return False
    return bool((spectral_radius(slots[0].value()) < 1).all())


@contextmanager
def _as_stationary(lds: Any, final: bool) -> Iterator[None]:
    """With a stationary start; at the end its moments are numbers again."""
    kinds = lds.kinds
    lds.kinds = ("stationary",) * len(kinds)
    try:
        yield
        prior = lds.prior() if final else None
    finally:
        lds.kinds = kinds
    if prior is not None:
        lds.slots["initial_mean"].set_(prior.mean.detach())
        lds.slots["initial_cov"].set_(prior.covariance.matrix.detach())
