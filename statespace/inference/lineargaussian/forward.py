"""The forward pass: one triangularisation per row, k + 1 mean columns beside it.

    observe   [[R^1/2, C S], [0, S]] -> [[F, 0], [G, S_f]],   e = F^-1 (y - d - C x),  x_f = x + G e
    predict   [A S_f, Q^1/2] -> S,                            x = A x_f + b

F F' is the innovation covariance. Columns of delta ride along: their e is the row [E | e] of a
least-squares problem for delta, whitened. Where nothing is missing the covariances do not hang on
the data, and one recursion serves every series.
"""

from __future__ import annotations

import torch
from torch import Tensor

from statespace.inference.lineargaussian import captured
from statespace.inference.lineargaussian.passes import Core, Pass, Plan, joint
from statespace.inference.lineargaussian.scan import pays, scan_forward
from statespace.inference.lineargaussian.start import Start
from statespace.inference.lineargaussian.steady import Steady
from statespace.inference.lineargaussian.system import Step, System
from statespace.inference.lineargaussian.triangular import rank_safe, too_small
from statespace.linalg import lq
from statespace.shapes import join


def forward(
    system: System,
    begin: Start,
    y: Tensor,
    observed: Tensor,
    active: Tensor,
    *,
    keep: bool = True,
    core: Core = "plain",
) -> Pass:
    """Run over all rows.

    Args:
        system: the model, detached.
        begin: its augmented start.
        y: (*b, T, m), finite everywhere.
        observed: (*b or broadcastable, T, m) boolean, False beyond a series' end.
        active: (*b or broadcastable, T) boolean, False beyond a series' end.
        keep: whether x, s, xf, sf are stored; the likelihood alone needs none of them.
        core: "scan" scans over time; "auto" does so where that pays (`scan.pays`).

    Returns:
        The pass. If an innovation variance is zero to rounding, the whole pass is made again with
        a triangularisation that decides rank entry by entry.
    """
    plan = Plan(system, begin, y, observed, active)
    if core == "scan" or (core == "auto" and pays(plan)):
        found = scan_forward(plan)
        if found is not None:
            return found
    run = None
    if captured.suits(plan.y, 2 * system.n + system.m):
        run = captured.forward(plan, keep=keep)
    if run is None:
        run = _loop(plan, keep=keep, safe=False)
    if bool(too_small(run.f).any()):
        run = _loop(plan, keep=keep, safe=True)
    return run


def _loop(plan: Plan, *, keep: bool, safe: bool) -> Pass:
    system, begin = plan.system, plan.begin
    n, m, k = system.n, system.m, begin.x.shape[-1]
    row = system.steps()
    s = begin.s.expand(*plan.c, n, n)
    x = begin.x.expand(*plan.b, n, k)
    records: list[list[Tensor]] = [[] for _ in range(8)]
    es, fs, gains, xs, ss, xfs, sfs, dead = records
    contradicted = torch.zeros(plan.b, dtype=torch.bool, device=x.device)
    idle = _Idle(plan, x)
    steady = Steady(system, allowed=not safe)
    both, off = s, idle.off
    for t, kind in enumerate(plan.kinds):
        p = row(t)
        if t:
            x = p.A @ x
            x[..., 0] += p.b
            s = steady.root if steady.reached(kind) else lq(join(p.A @ s, p.q))
            steady.see(t, s, kind)
        if keep:
            xs.append(x)
            ss.append(s)
        if kind == "none":
            e, f, g, off = idle.e, idle.f, idle.g, idle.off
        else:
            residual = -(p.C @ x)
            residual[..., 0] += plan.y[t] - p.d
            if not steady.filled:
                both = joint(p.C, p.r, s, plan.observed[t] if kind == "partial" else None)
                both, off = rank_safe(both, m) if safe else (lq(both), idle.off)
                steady.fill()
            f, g, s = both[..., :m, :m], both[..., m:, :m], both[..., m:, m:]
            if kind == "partial" or safe:
                residual = residual * plan.observed[t].to(x.dtype)[..., None]
            e = torch.linalg.solve_triangular(f, residual, upper=False)
            if safe:
                contradicted = contradicted | _contradicted(p, x, plan, t, off, e)
                e = e.masked_fill(off[..., None], 0.0)
            x = x + g @ e
        es.append(e)
        fs.append(f)
        gains.append(g)
        dead.append(off)
        if keep:
            xfs.append(x)
            sfs.append(s)
    used = plan.observed & ~_stack(dead, plan.c, 1)
    e = _stack(es, plan.b, 2)
    if not bool(used.all()):
        e = torch.where(used[..., None], e, torch.zeros_like(e))
    f, gain = _stack(fs, plan.c, 2), _stack(gains, plan.c, 2)
    used = used.expand(e.shape[:-1])
    if not keep:
        return Pass(e, f, gain, x, s, x, s, used, begin, contradicted)
    x, xf = _stack(xs, plan.b, 2), _stack(xfs, plan.b, 2)
    s, sf = _stack(ss, plan.c, 2), _stack(sfs, plan.c, 2)
    return Pass(e, f, gain, x, s, xf, sf, used, begin, contradicted)


class _Idle:
    """The update of a row in which nothing was observed."""

    def __init__(self, plan: Plan, x: Tensor) -> None:
        n, m = plan.system.n, plan.system.m
        self.e = x.new_zeros(*plan.b, m, x.shape[-1])
        self.f = torch.eye(m, dtype=x.dtype, device=x.device).expand(*plan.c, m, m)
        self.g = x.new_zeros(*plan.c, n, m)
        self.off = torch.zeros(*plan.c, m, dtype=torch.bool, device=x.device)


def _contradicted(p: Step, x: Tensor, plan: Plan, t: int, off: Tensor, e: Tensor) -> Tensor:
    """Whether an entry that had no variance left was seen away from its only value."""
    c, d = p.C, p.d
    size = plan.y[t].abs() + d.abs() + (c.abs() @ x[..., :1].abs())[..., 0]
    far = e[..., 0].abs() > torch.finfo(x.dtype).eps ** 0.6 * size
    return (far & off & plan.observed[t]).any(-1)


def _stack(xs: list[Tensor], lead: torch.Size, rank: int) -> Tensor:
    if all(x.shape[: x.dim() - rank] == lead for x in xs):
        return torch.stack(xs)
    return torch.stack([x.expand(*lead, *x.shape[x.dim() - rank :]) for x in xs])
