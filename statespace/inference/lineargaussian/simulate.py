"""Joint draws: of the states given the data (Durbin and Koopman 2002), and of the future."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Generator, Tensor

from statespace.errors import NumericalError
from statespace.inference.lineargaussian.backward import adjoint
from statespace.inference.lineargaussian.delta import solve
from statespace.inference.lineargaussian.forward import forward
from statespace.inference.lineargaussian.likelihood import total
from statespace.inference.lineargaussian.start import Start
from statespace.inference.lineargaussian.system import System


def _noise(root: Tensor, lead: torch.Size, generator: Generator) -> Tensor:
    size = (*lead, root.shape[-1], 1)
    e = torch.randn(size, dtype=root.dtype, device=root.device, generator=generator)
    return (root @ e)[..., 0]


def simulate(
    system: System, begin: Start, lead: torch.Size, num_steps: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Draws of z (*lead, T, n) and y (*lead, T, m); diffuse directions start at their mean."""
    delta = solve(begin.rows)
    shift = delta.mean + _noise(delta.root, lead, generator)
    z = begin.x[..., 0] + (begin.x[..., 1:] @ shift[..., None])[..., 0]
    z = z + _noise(begin.s, lead, generator)
    row, zs, ys = system.steps(), [], []
    for t in range(num_steps):
        p = row(t)
        if t:
            z = (p.A @ z[..., None])[..., 0] + p.b + _noise(p.q, lead, generator)
        zs.append(z)
        ys.append((p.C @ z[..., None])[..., 0] + p.d + _noise(p.r, lead, generator))
    return torch.stack(zs, -2), torch.stack(ys, -2)


def posterior_draws(
    system: System,
    begin: Start,
    mean: Tensor,
    observed: Tensor,
    active: Tensor,
    num: int,
    generator: Generator,
) -> Tensor:
    """Joint draws of all states given y.

    The smoothed mean is affine in y, so z+ - E[z | y+] of a simulated pair is a draw of the
    posterior's error, whatever y was.

    Args:
        system: as for the forward pass.
        begin: likewise.
        mean: the smoothed mean, (*batch, T, n).
        observed: as for the forward pass.
        active: likewise.
        num: how many draws.
        generator: its random numbers.

    Returns:
        (num, *batch, T, n).
    """
    zero = torch.zeros_like
    prior = replace(system.prior, loc=zero(begin.x[..., 0]))
    centred = replace(system, b=zero(system.b), d=zero(system.d), prior=prior)
    rows = begin.rows.clone()
    rows[..., :, -1] = 0.0
    origin = torch.cat([zero(begin.x[..., :1]), begin.x[..., 1:]], -1)
    start = Start(origin, begin.s, rows)
    lead = torch.Size((num, *mean.shape[:-2]))
    z, y = simulate(centred, start, lead, mean.shape[-2], generator)
    y = torch.where(observed, y, zero(y))
    run = forward(centred, start, y, observed, active, core="auto")
    known = total(run)[1]
    if bool((known.blind != 0).any()):
        raise NumericalError(
            "sample: expected a proper posterior, received a diffuse start of which the data never "
            "resolve a direction. Give it a prior (initial_cov=), or more data."
        )
    smoothed = adjoint(run, centred, known).x[..., 0].movedim(0, -2)
    return mean + z - smoothed
