"""The filter's moments by plain loops, and by compiled ones once delta is resolved.

Columns of delta ride along in the plain loops until the data have resolved them and the belief is
no wider than the noise allows; from there on it is a start like any other.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from statespace.inference.lineargaussian.delta import Delta, solve
from statespace.inference.lineargaussian.filtered import Found, run_filter
from statespace.inference.lineargaussian.forward import forward
from statespace.inference.lineargaussian.likelihood import check_finite, total
from statespace.inference.lineargaussian.moments import filter_moments, with_delta
from statespace.inference.lineargaussian.passes import Core
from statespace.inference.lineargaussian.start import Start, is_wide
from statespace.inference.lineargaussian.system import System
from statespace.linalg import lq
from statespace.shapes import row_at

__all__ = ["plain_filter", "run_opening"]

_OPENINGS = (32, 256, 2048)  # rows that are tried for an opening; the rest are at least as many
_AXES = (-2, -3, -2, -3, -2, -3, -1)  # of time, in the fields of `Found`


def plain_filter(
    system: System,
    begin: Start,
    y: Tensor,
    observed: Tensor,
    active: Tensor,
    last: Tensor,
    *,
    diffuse_constant: bool = True,
    core: Core = "plain",
) -> Found:
    """Every moment by plain loops or a scan; arguments are those of `forward` and `run_filter`.

    Raises:
        NumericalError: NaN or overflow; names the series and the step.
    """
    run = forward(system, begin, y, observed, active, core=core)
    check_finite(run)
    out = filter_moments(run, system, diffuse_constant=diffuse_constant)
    value, _ = total(run, diffuse_constant=diffuse_constant)
    moments: list[Any] = [x.movedim(0, axis) for x, axis in zip(out, _AXES, strict=False)]
    sf = run.sf.expand(*out.cov.shape)
    rank = value.ndim
    x, s, rows = (
        row_at(v.movedim(0, -3), last, rank)[..., 0, :, :] for v in (run.xf, sf, out.rows)
    )
    return Found._make([*moments, value, (x, s, rows)])


def run_opening(
    system: System,
    begin: Start,
    y: Tensor,
    observed: Tensor,
    active: Tensor,
    last: Tensor,
    keep: str,
    *,
    diffuse_constant: bool = True,
) -> Found | None:
    """The first rows by plain loops, the others by compiled ones; None: ask the plain path.

    Arguments are those of `plain_filter` and `run_filter`.
    """
    for rows in _OPENINGS:
        if y.shape[-2] < 2 * rows:
            return None
        at = last.clamp_max(rows - 1)
        opening = plain_filter(
            _cut(system, 0, rows), begin, y[..., :rows, :], observed[..., :rows, :],
            active[..., :rows], at, diffuse_constant=diffuse_constant,
        )  # fmt: skip
        belief = _resolved(system, opening)
        if belief is None:
            continue
        rest, after = _cut(system, rows, y.shape[-2]), (last - rows).clamp_min(0)
        begin = _predicted(system, belief, rows)
        found = run_filter(rest, begin, y[..., rows:, :], observed[..., rows:, :], after, keep)
        return None if found is None else _together(opening, belief, found, last, rows, keep)
    return None


def _resolved(system: System, opening: Found) -> tuple[Tensor, Tensor] | None:
    """Mean (*b, n, 1) and root of the beliefs at the end, if they are ones without columns."""
    x, s, rows = opening.end
    known: Delta = solve(rows)
    if bool((known.blind != 0).any()):
        return None
    mean, cov = with_delta(x, s, known)
    if is_wide(system, cov.diagonal(dim1=-2, dim2=-1)):
        return None
    columns = x[..., 1:] @ known.root
    lead = torch.broadcast_shapes(s.shape[:-2], columns.shape[:-2])
    both = torch.cat([v.expand(*lead, *v.shape[-2:]) for v in (s, columns)], -1)
    return mean[..., None], lq(both)


def _predicted(system: System, belief: tuple[Tensor, Tensor], t: int) -> Start:
    """The start of what follows: the belief moved into row t."""
    p, (mean, root) = system.steps()(t), belief
    x = p.A @ mean + p.b[..., None]
    moved = p.A @ root
    q = p.q.expand(*moved.shape[:-2], *p.q.shape[-2:])
    return Start(x, lq(torch.cat([moved, q], -1)), x.new_zeros(1, 1))


def _together(
    opening: Found, belief: tuple[Tensor, Tensor], rest: Found, last: Tensor, rows: int, keep: str
) -> Found:
    """One record of both parts; series that ended in the first have their end there."""
    batch = rest.log_likelihood.shape
    over = (last < rows).expand(batch)

    def pick(one: Any, other: Any) -> Any:
        return one.where(over[(..., *(None,) * (other.ndim - over.ndim))], other)

    if keep == "last":
        early = opening.keeping("last", last.clamp_max(rows - 1))
        moments: list[Any] = [pick(*x) for x in zip(early[:7], rest[:7], strict=True)]
    else:
        moments = [
            None if b is None else _joined(a, b, batch, axis)
            for a, b, axis in zip(opening[:7], rest[:7], _AXES, strict=True)
        ]
    mean, root = (pick(a, b) for a, b in zip(belief, rest.end[:2], strict=True))
    end = (mean, root, rest.end[2])
    return Found._make([*moments, opening.log_likelihood + rest.log_likelihood, end])


def _joined(a: Any, b: Tensor, batch: torch.Size, axis: int) -> Tensor:
    """Two stretches of rows, one after the other."""
    return torch.cat([x.expand(*batch, *x.shape[axis:]) for x in (a, b)], axis)


def _cut(system: System, low: int, high: int) -> System:
    """Rows low .. high of what varies."""
    parts: dict[str, Any] = {}
    for name in system.varies:
        axis = -2 if name in "bd" else -3
        take = partial(torch.narrow, dim=axis, start=low, length=high - low)
        value = getattr(system, name)
        parts[name] = value.map(take) if name in "QR" else take(value)
    return replace(system, **parts)
