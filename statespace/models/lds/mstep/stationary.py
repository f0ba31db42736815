"""A stationary start: z_1 ~ N((I - A)^-1 b, P), P = A P A' + Q, depends on A, b and Q.

The maximum over them of the expected log joint

    -1/2 { N log|Q| + tr Q^-1 S(A, B, b) }  -1/2 { K log|P| + tr P^-1 E[(z_1 - m)(z_1 - m)'] }

(N transitions, K series) has no closed form. The step proposes the one that ignores z_1, halves
it until the whole expression has not fallen, and climbs on from there by a few quasi-Newton steps.
The expression does not fall, hence neither does the likelihood (a generalised EM: Dempster, Laird
and Rubin 1977, theorem 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from statespace.errors import InputError
from statespace.learning.lbfgs import minimise
from statespace.learning.scales import own_sizes
from statespace.models.lds.mstep.moments import Moments

__all__ = ["climb"]

_STEPS = 10  # quasi-Newton steps inside one M-step; EM comes back to the rest


def climb(lds: Any, statistics: Mapping[str, Moments], propose: Callable[[], None]) -> None:
    """Moves A, B, b and Q so that the expected log joint does not fall.

    Args:
        lds: With a stationary start, at least in part; at the parameters of the E-step.
        statistics: Of that E-step.
        propose: Sets the closed form that ignores z_1.
    """
    every = [lds.slots[n] for n in ("A", "B", "b", "Q")]
    slots = [s for s in every if s.theta is not None and s.theta.requires_grad and not s.varies]
    if not slots:
        return
    expected = _Expected(lds, statistics)
    read, write = _flat(slots)
    old = read()
    before = expected.value()
    if not math.isfinite(before):  # noise of a lower rank: the gradient's work
        return
    propose()
    step = read() - old
    point, length = old, 1.0
    while length > 1e-6:
        write(old + length * step)
        if expected.value() >= before:
            point = old + length * step
            break
        length /= 2
    scale = torch.cat([own_sizes(slot).flatten() for slot in slots])

    def function(x: Tensor) -> tuple[float, Tensor]:
        write(point + scale * x)
        with torch.enable_grad():
            value = expected.tensor()
        if value is None or not math.isfinite(float(value.detach())):
            return math.inf, x
        grads = torch.autograd.grad(value, [s.theta for s in slots], allow_unused=True)
        parts = [
            torch.zeros_like(s.theta) if g is None else g for s, g in zip(slots, grads, strict=True)
        ]
        return -float(value.detach()), -scale * torch.cat([p.flatten() for p in parts]).double()

    found = minimise(function, torch.zeros_like(point), max_iter=_STEPS, tol=1e-9, tol_gain=1e-12)
    write(point + scale * found.x)


def _flat(slots: list[Any]) -> tuple[Callable[[], Tensor], Callable[[Tensor], None]]:
    def read() -> Tensor:
        return torch.cat([s.theta.detach().flatten() for s in slots]).double()

    def write(x: Tensor) -> None:
        with torch.no_grad():
            for slot, part in zip(slots, x.split([s.theta.numel() for s in slots]), strict=True):
                slot.theta.copy_(part.view_as(slot.theta))

    return read, write


class _Expected:
    """The expected log joint of z, up to a constant, at the model's present parameters."""

    def __init__(self, lds: Any, statistics: Mapping[str, Moments]) -> None:
        self.lds = lds
        self.dynamics, self.start = statistics["dynamics"], statistics["start"]
        self.coefficients = self._coefficients().detach()
        self.mean = lds.prior().mean.detach().double()
        noisy = lds.slots["Q"].value().detach().diagonal(dim1=-2, dim2=-1) > 0
        self.noisy = noisy.reshape(-1, noisy.shape[-1]).any(0).nonzero()[:, 0]
        kinds = [kind == "stationary" for kind in lds.kinds]
        self.rows = torch.tensor(kinds, device=self.mean.device).nonzero()[:, 0]

    def _coefficients(self) -> Tensor:
        a, b = self.lds.slots["A"].value(), self.lds.slots["b"].value()[..., None]
        parts = (a, self.lds.slots["B"].value(), b)
        lead = torch.broadcast_shapes(*(x.shape[:-2] for x in parts))
        return torch.cat([x.expand(*lead, *x.shape[-2:]) for x in parts], -1).double()

    def value(self) -> float:
        """As a number; -inf outside what is stationary, or where noise is of a lower rank."""
        with torch.no_grad():
            found = self.tensor()
        return -math.inf if found is None else float(found)

    def tensor(self) -> Tensor | None:
        """With its graph; None where it has no value."""
        try:
            prior = self.lds.prior()
        except InputError:  # a spectral radius of one or more
            return None
        change = self._coefficients() - self.coefficients
        moments = self.dynamics
        across = change @ moments.ex.mT
        ee = moments.ee - across - across.mT + change @ moments.xx @ change.mT
        rows = self.noisy
        q = self.lds.slots["Q"].value().double()[..., rows[:, None], rows]
        first = _gaussian(q, ee[..., rows[:, None], rows], moments.count)
        shift = (prior.mean.double() - self.mean)[..., None]
        across = shift @ self.start.ex.mT
        ee = self.start.ee - across - across.mT + self.start.xx * shift @ shift.mT
        rows = self.rows
        p = prior.covariance.matrix.double()[..., rows[:, None], rows]
        second = _gaussian(p, ee[..., rows[:, None], rows], self.start.count)
        if first is None or second is None:
            return None
        priors = [self.lds.slots[n].log_prior().double().sum() for n in ("A", "B", "b", "Q")]
        return first + second + torch.stack(priors).sum()


def _gaussian(cov: Tensor, ee: Tensor, count: Tensor) -> Tensor | None:
    """-1/2 { count log|cov| + tr cov^-1 ee }, summed over models; None where cov is singular."""
    sd = cov.detach().diagonal(dim1=-2, dim2=-1).sqrt()
    if not bool((sd > 0).all()):
        return None
    scale = 1 / (sd[..., :, None] * sd[..., None, :])
    lower, info = torch.linalg.cholesky_ex(cov * scale)
    if bool((info != 0).any()) or not bool((lower.diagonal(dim1=-2, dim2=-1) > 1e-7).all()):
        return None
    log_det = 2 * (lower.diagonal(dim1=-2, dim2=-1).log() + sd.log()).sum(-1)
    trace = torch.cholesky_solve(ee * scale, lower).diagonal(dim1=-2, dim2=-1).sum(-1)
    return -0.5 * (count * log_det + trace).sum()
