"""A user's functions of (z, ctx): what they give is looked at wherever they are called."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from statespace.errors import InputError, InputTypeError, expected
from statespace.interface import Context
from statespace.linalg import psd_root

__all__ = ["called", "check_callable", "is_function", "noise_root"]

_TODO = "Write it with operations on the last axis alone: it is given z with any leading axes."


def is_function(given: Any) -> bool:
    """Whether a noise was given as a function of (z, ctx)."""
    return callable(given) and not isinstance(given, Tensor)


def check_callable(name: str, given: Any) -> None:
    """Refuses what cannot be called with two arguments.

    Raises:
        InputTypeError: neither a function nor a Module, or one of other arguments.
    """
    if not callable(given):
        todo = f"Give {name}=lambda z, ctx: ..."
        got = f"{type(given).__name__} {given!r:.40}"
        raise InputTypeError(expected(name, "a function of (z, ctx), or an nn.Module", got, todo))
    wanted = "(y, mean)" if name == "residual" else "(z, ctx)"
    try:
        signature = inspect.signature(given.forward if isinstance(given, nn.Module) else given)
    except ValueError:  # written in C: it says nothing
        return
    try:
        signature.bind(None, None)
    except TypeError:
        todo = f"Give {name}=lambda {wanted[1:-1]}: ..., or a Module whose forward takes both."
        got = f"one of {signature}"
        raise InputTypeError(expected(name, f"a function of {wanted}", got, todo)) from None


def called(name: str, function: Any, z: Tensor, ctx: Context, event: tuple[int, ...]) -> Tensor:
    """What a function gives at z (*lead, n): (*lead, *event).

    Raises:
        InputTypeError: no tensor.
        InputError: a tensor of another shape or dtype.
    """
    out = function(z, ctx)
    if not isinstance(out, Tensor):
        raise InputTypeError(expected(name, "a tensor", type(out).__name__, _TODO))
    lead = z.shape[:-1]
    wide = torch.broadcast_shapes(lead, ctx.u.shape[:-1])  # one z, a batch of inputs
    allowed = {(*lead, *event), (*wide, *event)} | ({event} if len(event) == 2 else set())
    if tuple(out.shape) not in allowed:
        wanted = f"shape {(*wide, *event)} from z of shape {tuple(z.shape)}"
        raise InputError(expected(name, wanted, f"shape {tuple(out.shape)}", _TODO))
    if out.dtype != z.dtype:
        todo = "Convert it with .to(z.dtype); a Module with .double() or .float()."
        raise InputError(expected(name, str(z.dtype), str(out.dtype), todo))
    return out


def noise_root(name: str, function: Any, z: Tensor, ctx: Context, size: int) -> Tensor:
    """A root of the covariance that a function gives at z, ([*lead,] size, size).

    Raises:
        InputError, InputTypeError: as `called`; not a covariance.
    """
    return psd_root(called(name, function, z, ctx, (size, size)), name)
