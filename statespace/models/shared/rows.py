"""Rows of parameters that vary in time, and inputs brought in: b + B u_t, d + D u_t."""

from __future__ import annotations

from torch import Tensor

from statespace.errors import InputError, expected
from statespace.gaussian import AffineConditional
from statespace.interface import Context
from statespace.linalg import Covariance
from statespace.parameters import CovarianceSlot, Slot

__all__ = ["affine", "conditional", "covariance_of", "rows_of"]


def conditional(
    weight: Slot, effect: Slot, offset: Slot, noise: CovarianceSlot, ctx: Context
) -> AffineConditional:
    """N(weight z + effect u + offset, noise), at one row or over all rows of the context."""
    matrix, bias, varies = affine(weight, effect, offset, ctx)
    varies |= {"noise"} if noise.varies else frozenset()
    spread = covariance_of(noise, ctx)
    return AffineConditional(matrix, bias, spread, varies if ctx.over_time else frozenset())


def covariance_of(noise: CovarianceSlot, ctx: Context) -> Covariance:
    """The noise, with the rows of the context where it varies."""
    found = noise.covariance()
    if not noise.varies:
        return found
    return found.map(lambda x: rows_of(noise, x, ctx))


def affine(
    weight: Slot, effect: Slot, offset: Slot, ctx: Context
) -> tuple[Tensor, Tensor, frozenset[str]]:
    """The map weight z + effect u + offset: matrix, bias, and which of "weight" and "bias" vary."""
    varies = {"weight"} if weight.varies else set()
    bias = rows_of(offset, offset.value(), ctx)
    if effect.event[1]:
        driven = _driven(effect, ctx)
        bias = (bias if offset.varies or not ctx.over_time else bias.unsqueeze(-2)) + driven
        varies.add("bias")
    elif offset.varies:
        varies.add("bias")
    return rows_of(weight, weight.value(), ctx), bias, frozenset(varies)


def _driven(effect: Slot, ctx: Context) -> Tensor:
    """Effect u, (*batch, [T,] k)."""
    value, u = rows_of(effect, effect.value(), ctx), ctx.u
    if ctx.over_time and not effect.varies:
        return u @ value.mT  # (*batch, T, p) (*batch, p, k)
    return (value @ u[..., None])[..., 0]


def rows_of(slot: Slot, value: Tensor, ctx: Context) -> Tensor:
    """The rows of a varying parameter that the context names; any other value as it is."""
    if slot.num_rows is None:
        return value
    t, axis = ctx.t, -len(slot.event) - 1
    first, last = (int(t[0]), int(t[-1])) if ctx.over_time else (int(t), int(t))
    if last >= slot.num_rows:
        raise InputError(
            expected(
                slot.name,
                f"at least {last + 1} rows, one for every step (T + horizon to forecast)",
                f"{slot.num_rows}",
                "Give Varying more rows, or ask for fewer steps.",
            )
        )
    if not ctx.over_time:
        return value.select(axis, first)
    if last - first + 1 == t.numel():
        return value.narrow(axis, first, t.numel())
    return value.index_select(axis, t)
