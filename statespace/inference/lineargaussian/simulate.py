"""Joint draws: of the states given the data (Durbin and Koopman 2002), and of the future.

Standard normal numbers come first, one call of the generator for each draw, and paths are made of
them afterwards, by plain or by compiled loops. So both give the same numbers, ten draws begin with
the five of a shorter call, and the memory of many draws is bounded.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from statespace import kernels
from statespace.errors import NumericalError
from statespace.inference.lineargaussian.backward import adjoint
from statespace.inference.lineargaussian.compiled import suits
from statespace.inference.lineargaussian.compiled_back import run_moments
from statespace.inference.lineargaussian.complete import lanes_of
from statespace.inference.lineargaussian.delta import solve
from statespace.inference.lineargaussian.forward import forward
from statespace.inference.lineargaussian.layout import Layout
from statespace.inference.lineargaussian.likelihood import total
from statespace.inference.lineargaussian.passes import Core
from statespace.inference.lineargaussian.start import Start
from statespace.inference.lineargaussian.system import System
from statespace.linalg import lq

__all__ = ["posterior_draws", "simulate"]

_AT_ONCE = 1 << 22  # numbers of paths that are held beside the result


class _Normal(NamedTuple):
    """Independent standard normal numbers of some paths, leading axes (*lead,)."""

    start: Tensor  # (*lead, k + n): delta's, and those of the start
    rows: Tensor  # (*lead, T, r + q): of Q and of R


def _widths(system: System, begin: Start) -> tuple[int, int]:
    """How many normal numbers a start needs, and how many a row."""
    first = begin.rows.shape[-1] - 1 + begin.s.shape[-1]
    return first, system.Q.root.shape[-1] + system.R.root.shape[-1]


def _draw(
    system: System, begin: Start, lead: torch.Size, num_steps: int, generator: Generator
) -> _Normal:
    """The numbers of paths (*lead,), one call for each along the first axis."""
    first, each = _widths(system, begin)
    inner = lead[1:].numel() if lead else 1
    size = (inner, first + num_steps * each)
    drawn = begin.x.new_empty(lead[0] if lead else 1, *size)
    for one in drawn:
        torch.randn(size, generator=generator, out=one)
    drawn = drawn.reshape(*lead, size[1])
    return _Normal(drawn[..., :first], drawn[..., first:].unflatten(-1, (num_steps, each)))


def _first(begin: Start, e: Tensor) -> Tensor:
    """Draws of z_1, (*lead, n); diffuse directions stand at their mean.

    Of the roots of a belief the triangular one with a positive diagonal is taken: another one would
    give other draws for the same seed.
    """
    delta, root = solve(begin.rows), lq(begin.s)
    negative = root.diagonal(dim1=-2, dim2=-1)[..., None, :] < 0
    root = torch.where(negative, -root, root)
    k = delta.root.shape[-1]
    shift = delta.mean + (delta.root @ e[..., :k, None])[..., 0]
    z = begin.x[..., 0] + (begin.x[..., 1:] @ shift[..., None])[..., 0]
    return z + (root @ e[..., k:, None])[..., 0]


def _paths(system: System, z: Tensor, e: Tensor, core: Core) -> tuple[Tensor, Tensor]:
    """Z (*lead, T, n) and y (*lead, T, m) from z_1 (*lead, n) and the numbers of every row."""
    if suits(system, e, core):
        return _compiled_paths(system, z, e)
    row, wide, zs, ys = system.steps(), system.Q.root.shape[-1], [], []
    for t, now in enumerate(e.unbind(-2)):
        p, w, v = row(t), now[..., :wide, None], now[..., wide:, None]
        if t:
            z = (p.A @ z[..., None] + p.q @ w)[..., 0] + p.b
        zs.append(z)
        ys.append((p.C @ z[..., None] + p.r @ v)[..., 0] + p.d)
    return torch.stack(zs, -2), torch.stack(ys, -2)


def _compiled_paths(system: System, z: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
    layout, (t_max, n, m) = Layout(system, z.shape[:-1]), (e.shape[-2], system.n, system.m)
    none = z.new_empty(1, 1)
    model = layout.model(system, Start(z[..., None], z.new_zeros(n, n), none), False)
    noise = layout.lay(e, 2).contiguous().numpy()
    lanes, tasks = lanes_of(layout)
    zs, ys = (np.empty((layout.sets, layout.series, t_max, k), noise.dtype) for k in (n, m))

    def piece(low: int, high: int) -> None:
        kernels.simulate_each(lanes, model, noise, low, high, zs, ys)

    key = ("simulate", lanes.width, noise.dtype)
    kernels.announced(key, lambda: kernels.spread(piece, tasks))
    return layout.back(torch.from_numpy(zs)), layout.back(torch.from_numpy(ys))


def simulate(
    system: System,
    begin: Start,
    lead: torch.Size,
    num_steps: int,
    generator: Generator,
    core: Core = "auto",
) -> tuple[Tensor, Tensor]:
    """Draws of z (*lead, T, n) and y (*lead, T, m); diffuse directions start at their mean."""
    e = _draw(system, begin, lead, num_steps, generator)
    return _paths(system, _first(begin, e.start), e.rows, core)


def posterior_draws(
    system: System,
    begin: Start,
    mean: Tensor,
    observed: Tensor,
    active: Tensor,
    num: int,
    generator: Generator,
    core: Core = "auto",
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
        core: which loops; the numbers are the same.

    Returns:
        (num, *batch, T, n).
    """
    centred, start = _centred(system, begin)
    batch, steps = mean.shape[:-2], mean.shape[-2]
    each = batch.numel() * steps * (3 * system.n + system.m + _widths(system, begin)[1])
    at_once = max(_AT_ONCE // max(each, 1), 1)
    out = mean.new_empty(num, *mean.shape)
    for low in range(0, num, at_once):
        part = out[low : low + at_once]
        z, y = simulate(centred, start, part.shape[:-2], steps, generator, core)
        y = torch.where(observed, y, torch.zeros_like(y))
        part.copy_(z).sub_(_smoothed(centred, start, y, observed, active, core)).add_(mean)
    return out


def _centred(system: System, begin: Start) -> tuple[System, Start]:
    """The system without offsets, and its start without a mean."""
    zero = torch.zeros_like
    centred = replace(
        system,
        b=system.b.new_zeros(system.n),
        d=system.d.new_zeros(system.m),
        prior=replace(system.prior, loc=zero(begin.x[..., 0])),
        varies=system.varies - {"b", "d"},
    )
    rows = begin.rows.clone()
    rows[..., :, -1] = 0.0
    origin = torch.cat([zero(begin.x[..., :1]), begin.x[..., 1:]], -1)
    return centred, Start(origin, begin.s, rows)


def _smoothed(
    system: System, begin: Start, y: Tensor, observed: Tensor, active: Tensor, core: Core
) -> Tensor:
    """E[z | y], (*lead, T, n)."""
    if suits(system, y, core):
        found = run_moments(system, begin, y, observed, keep="means")
        if found is not None:
            return found[1].mean.movedim(0, -2)
    run = forward(system, begin, y, observed, active, core=core)
    known = total(run)[1]
    if bool((known.blind != 0).any()):
        raise NumericalError(
            "sample: expected a proper posterior, received a diffuse start of which the data never "
            "resolve a direction. Give it a prior (initial_cov=), or more data."
        )
    return adjoint(run, system, known).x[..., 0].movedim(0, -2)
