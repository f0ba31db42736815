"""The M-step, regression by regression: coefficients given the noise, then the noise.

    [A B b] given Q, then Q = sum E[w w'] / sum (T - 1)
    [C D d] given R, then R = sum E[v v'] / rows with data
    initial mean given its covariance, then the covariance = sum E[(z_1 - m)(z_1 - m)'] / series

Each line is the exact maximum of the expected log joint in what it moves, given the rest, so the
likelihood cannot fall (Meng and Rubin 1993, ECM). Structures and ties of a covariance are means
over its blocks. A conjugate prior adds its own terms, and what climbs is the posterior. A
stationary start ties A, b and Q to z_1, which has no closed form: see `stationary`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from statespace.errors import NumericalError
from statespace.linalg import Covariance
from statespace.models.lds.mstep.moments import Moments
from statespace.models.lds.mstep.regression import (
    blocked,
    residual_moments,
    shift_coefficients,
)
from statespace.models.lds.mstep.stationary import climb
from statespace.parameters import CovarianceSlot, InverseWishart

__all__ = ["GROUPS", "exact", "maximise", "routes", "set_noise", "update"]

GROUPS = {
    "dynamics": (("A", "B", "b"), "Q"),
    "readout": (("C", "D", "d"), "R"),
    "start": (("initial_mean",), "initial_cov"),
}


def exact(lds: Any) -> bool:
    """Whether `maximise` reaches the conditional maximum in every learned number."""
    return set(routes(lds).values()) <= {"closed form", "held"}


def routes(lds: Any) -> dict[str, str]:
    """Which way EM takes for each parameter (see `docs/em.md`).

    Returns:
        By name: "held" (nothing is learned), "closed form", "conditional" (the expected log joint
        is climbed), or "gradient" (EM leaves some of it alone; `polish` and `Gradient` learn it).
    """
    out: dict[str, str] = {}
    for names, noise in GROUPS.values():
        slot = lds.slots[noise]
        slots = [lds.slots[name] for name in names]
        left = set()
        if slot.is_set and all(s.is_set for s in slots):
            with torch.no_grad():
                left = {name.split("[")[0] for name in blocked(slots, slot.covariance())}
        for name in (*names, noise):
            one = lds.slots[name]
            if one.n_free == 0:
                out[name] = "held"
            elif one.varies or name in left or not _alike(lds, names):
                out[name] = "gradient"
            elif noise == "Q" and "stationary" in lds.kinds:
                out[name] = "conditional"
            else:
                out[name] = "closed form"
    return out


def _alike(lds: Any, names: tuple[str, ...]) -> bool:
    """Whether what is learned beside each other is learned for the same models."""
    shapes = {lds.slots[n].batch_shape for n in names if lds.slots[n].n_free}
    return len(shapes) <= 1


def maximise(lds: Any, statistics: Mapping[str, Moments]) -> None:
    """Sets the parameters from the statistics of an E-step made at the present ones.

    Raises:
        NumericalError: statistics that are not finite.
    """
    with torch.no_grad():
        for name, (coefficients, noise) in GROUPS.items():
            moments = statistics[name]
            if not all(bool(torch.isfinite(x).all()) for x in moments):
                raise NumericalError(
                    f"M-step: expected finite statistics of the {name}, received NaN or inf. Look "
                    "at the scale of the data and at the start values."
                )
            if not bool((moments.count > 0).any()):
                continue  # one row: no transition was seen
            slots = [lds.slots[n] for n in coefficients]
            slot = lds.slots[noise]
            if name == "dynamics" and "stationary" in lds.kinds:
                climb(lds, statistics, partial(update, slots, slot, moments))
            elif _alike(lds, coefficients):
                update(slots, slot, moments)


def update(slots: list[Any], noise: CovarianceSlot, moments: Moments) -> None:
    """Coefficients given the noise, then the noise given them."""
    change = shift_coefficients(slots, _of_rows(noise, moments), moments)
    set_noise(noise, residual_moments(moments, change), moments.count)


def set_noise(noise: CovarianceSlot, total: Tensor, count: Tensor) -> None:
    """The covariance of residuals, where it is learned.

    Args:
        noise: The slot.
        total: Sum of E[e e'], (*models, n, n), or with more leading axes, which are summed.
        count: How many residuals, (*models,).
    """
    if noise.theta is None or noise.varies or not noise.theta.requires_grad:
        return
    models = noise.theta.shape[:-1]
    n = noise.event[0]
    total, count = total.sum_to_size((*models, n, n)), count.sum_to_size(models)
    if isinstance(noise.prior, InverseWishart):
        total = total + noise.prior.scale.to(total)
        count = count + noise.prior.df + n + 1
    value = _semidefinite(total) / count.clamp_min(1)[..., None, None]
    old = noise.theta.clone()
    noise.set_(value)
    noise.theta.copy_(torch.where((count > 0)[..., None], noise.theta, old))


def _of_rows(noise: CovarianceSlot, moments: Moments) -> Covariance:
    """The noise of the rows that the moments are of; row 0 of a Q that varies acts on nothing."""
    cov = noise.covariance()
    if not noise.varies:
        return cov
    first = int(noise.name == "Q")
    return cov.map(lambda x: x.narrow(-3, first, moments.ex.shape[-3]))


def _semidefinite(total: Tensor) -> Tensor:
    """Without the negative directions that rounding leaves in a sum of squares."""
    total = 0.5 * (total + total.mT)
    sd = total.diagonal(dim1=-2, dim2=-1).clamp_min(0).sqrt()
    unit = torch.where(sd > 0, sd, torch.ones_like(sd))
    scaled = total / unit[..., :, None] / unit[..., None, :]
    if bool((torch.linalg.cholesky_ex(scaled).info == 0).all()):
        return total
    values, vectors = torch.linalg.eigh(scaled)
    clipped = (vectors * values.clamp_min(0)[..., None, :]) @ vectors.mT
    return 0.5 * (clipped + clipped.mT) * (sd[..., :, None] * sd[..., None, :])
