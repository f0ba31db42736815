"""The declarations of a sum of two linear dynamical systems."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from statespace.errors import InputError, expected
from statespace.parameters import Declaration, Fixed, Param, Slot, Varying

if TYPE_CHECKING:
    from statespace.models.lds.model import LDS

__all__ = ["sum_arguments"]

Grow = Callable[[Tensor], Tensor]  # places a block in the array of the sum, zeros around it


def pad(x: Tensor, widths: tuple[int, ...]) -> Tensor:
    """Zeros around x, of (before, after) entries for its last axis, then for the one before it.

    That of torch 2.8 and older refuses a tensor without entries, such as the B of no inputs.

    Example:
        >>> pad(torch.ones(1, 0), (0, 2, 1, 0)).shape
        torch.Size([2, 2])
    """
    if x.numel():
        return functional.pad(x, widths)
    shape = list(x.shape)
    for axis, (before, after) in enumerate(zip(widths[::2], widths[1::2], strict=True), 1):
        shape[-axis] += before + after
    return x.new_zeros(shape)


def sum_arguments(first: LDS, second: LDS) -> tuple[tuple[int, int, int], dict[str, Any]]:
    """Sizes and arguments of the model of y = y_first + y_second.

    Raises:
        InputError: different outputs, inputs, dtypes or ways to count; priors; learned entries
            beside entries that vary in time.
    """
    _check_pair(first, second)
    n1, n2 = first.latent_dim, second.latent_dim
    p = max(first.input_dim, second.input_dim)

    def both(name: str, left: Grow, right: Grow) -> Declaration:
        return _side_by_side(first.slot(name), second.slot(name), left, right)

    corner: tuple[Grow, Grow] = (
        lambda x: pad(x, (0, n2, 0, n2)),
        lambda x: pad(x, (n1, 0, n1, 0)),
    )
    last: tuple[Grow, Grow] = (lambda x: pad(x, (0, n2)), lambda x: pad(x, (n1, 0)))
    wide1, wide2 = p - first.input_dim, p - second.input_dim  # no inputs there: zero effect
    rows: tuple[Grow, Grow] = (
        lambda x: pad(x, (0, wide1, 0, n2)),
        lambda x: pad(x, (0, wide2, n1, 0)),
    )
    arguments: dict[str, Any] = {
        "A": both("A", *corner),
        "B": both("B", *rows),
        "b": both("b", *last),
        "C": both("C", *last),
        "D": _overlaid(first.slot("D"), second.slot("D"), wide1, wide2),
        "d": _overlaid(first.slot("d"), second.slot("d"), 0, 0),
        "Q": both("Q", *corner),
        "R": _noise(first.slot("R"), second.slot("R")),
        "initial": [*first.kinds, *second.kinds],
        "diffuse_constant": first.diffuse_constant,
        "dtype": first.dtype,
    }
    if {"known", "estimate"} & {*first.kinds, *second.kinds}:
        arguments["initial_mean"] = both("initial_mean", *last)
        arguments["initial_cov"] = both("initial_cov", *corner)
    return (n1 + n2, first.obs_dim, p), arguments


def _check_pair(first: LDS, second: LDS) -> None:
    for name in ("obs_dim", "dtype", "diffuse_constant"):
        one, two = getattr(first, name), getattr(second, name)
        if one != two:
            raise InputError(
                expected("+", f"components with the same {name}", f"{one} and {two}", "Match them.")
            )
    p1, p2 = first.input_dim, second.input_dim
    if p1 and p2 and p1 != p2:
        raise InputError(
            expected(
                "+",
                "components that read the same inputs, or none",
                f"{p1} and {p2} inputs",
                "Give both all inputs, and hold the entries of B and D that read none at 0.",
            )
        )
    for model in (first, second):
        for name in model.slots:
            if model.slot(str(name)).prior is not None:
                raise InputError(
                    expected(
                        "+",
                        "components without priors",
                        f"a prior on {name}",
                        "Add first, then give the prior: (a + b).replace(...).",
                    )
                )


def _side_by_side(first: Slot, second: Slot, left: Grow, right: Grow) -> Declaration:
    """Two blocks of one array; labels of the second are counted on from the first's."""
    one, two = first.pattern.labels, second.pattern.labels
    labels = left(one) + right(two + first.n_free * two.sign())
    return _declare(first, second, left, right, labels)


def _overlaid(first: Slot, second: Slot, wide1: int, wide2: int) -> Declaration:
    """Two offsets, or two effects of the same inputs, that add up."""

    def left(x: Tensor) -> Tensor:
        return pad(x, (0, wide1))

    def right(x: Tensor) -> Tensor:
        return pad(x, (0, wide2))

    one, two = left(first.pattern.labels), right(second.pattern.labels)
    labels = one + two
    if first.n_free and second.n_free:  # ties of one cannot hold for the sum
        free = (one != 0) | (two != 0)
        labels = (torch.cumsum(free.flatten(), 0) * free.flatten()).view(free.shape)
    return _declare(first, second, left, right, labels)


def _declare(first: Slot, second: Slot, left: Grow, right: Grow, labels: Tensor) -> Declaration:
    ready = first.is_set and second.is_set
    values = [slot.value() if ready else slot.held for slot in (first, second)]
    if first.varies or second.varies:
        if bool((labels != 0).any()):
            raise InputError(
                expected(
                    "+",
                    f"{first.name} wholly held where a part of it varies in time",
                    "learned entries beside it",
                    "Use inputs and D for regressors: regression(num_inputs).",
                )
            )
        values = _over_time(first, second, values)
        return Varying(left(values[0]) + right(values[1]))
    total = left(values[0]) + right(values[1])
    if not bool((labels != 0).any()):
        return Fixed(total)
    return Param(total.detach(), free=labels != 0, labels=labels, start=ready)


def _over_time(first: Slot, second: Slot, values: list[Tensor]) -> list[Tensor]:
    rows = {slot.num_rows for slot in (first, second)} - {None}
    if len(rows) > 1:
        raise InputError(
            expected("+", "the same number of rows", f"{sorted(map(str, rows))}", "Match them.")
        )
    axis = -len(first.event) - 1
    return [
        value if slot.varies else value.unsqueeze(axis)
        for slot, value in zip((first, second), values, strict=True)
    ]


def _noise(first: Slot, second: Slot) -> Declaration:
    """One R, learned: the first that is learned already, else a new one."""
    for slot in (first, second):
        if slot.n_free:
            return slot.declaration()
    return Param()
