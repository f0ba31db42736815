"""Tensor helpers that know shapes and no meaning.

Shapes read `(*sample, *batch, T, features)`. A *tree* is a Tensor, or a tuple, named tuple, list,
dict or dataclass of trees; anything else in it (None, a generator, a number) is carried along.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Size, Tensor

from statespace.errors import InputError, expected

__all__ = [
    "active_rows",
    "align",
    "every",
    "gather",
    "join",
    "leaves",
    "once",
    "row_at",
    "shift",
    "tmap",
    "together",
    "where_tree",
]


def join(*xs: Tensor) -> Tensor:
    """Concatenates features, broadcasting the leading axes.

    Args:
        *xs: Tensors (*leading_i, k_i) whose leading shapes broadcast; a width k_i of 0 is fine.

    Returns:
        A tensor (*leading, k_1 + k_2 + ...).

    Example:
        >>> z, u = torch.zeros(64, 5, 3), torch.ones(5, 2)  # 64 particles of z, one u for all
        >>> join(z, u).shape
        torch.Size([64, 5, 5])
    """
    if len(xs) == 1:
        return xs[0]
    leading = [x.shape[:-1] for x in xs]
    if any(shape != leading[0] for shape in leading):
        shape = torch.broadcast_shapes(*leading)
        xs = tuple(x.expand(*shape, x.shape[-1]) for x in xs)
    return torch.cat(xs, -1)


def align(x: Tensor, ndim: int) -> Tensor:
    """Appends axes of size 1 until `x` has `ndim` axes: broadcasting from the left.

    Example:
        >>> align(torch.ones(5, dtype=torch.bool), 3).shape
        torch.Size([5, 1, 1])
    """
    return x.reshape(*x.shape, *(1,) * (ndim - x.ndim))


def active_rows(lengths: Tensor, num_rows: int) -> Tensor:
    """True where a row lies inside its series: row t is active if t < length.

    Args:
        lengths: Number of rows of each series, (*batch,) integers.
        num_rows: T, the number of rows of the padded tensor.

    Returns:
        Booleans (*batch, T).

    Example:
        >>> active_rows(torch.tensor([1, 3]), 3).int()
        tensor([[1, 0, 0],
                [1, 1, 1]], dtype=torch.int32)
    """
    return torch.arange(num_rows, device=lengths.device) < lengths[..., None]


def once(x: Tensor) -> Tensor:
    """One of those elements that are the same by expansion: axes that do not move get length 1.

    Example:
        >>> once(torch.zeros(3, 1).expand(3, 1000)).shape
        torch.Size([3, 1])
    """
    for axis in range(x.ndim):
        if x.stride(axis) == 0 and x.shape[axis] > 1:
            x = x.narrow(axis, 0, 1)
    return x


def every(mask: Tensor) -> bool:
    """Whether all of a mask is True; one that was expanded is looked at once."""
    return bool(once(mask).all())


def together(*shapes: Size) -> Size:
    """`torch.broadcast_shapes`, which is slow, asked only where shapes differ."""
    different = {shape for shape in shapes if shape}
    if len(different) > 1:
        return torch.broadcast_shapes(*different)
    return different.pop() if different else Size()


def shift(x: Tensor, first: Tensor) -> Tensor:
    """The row before: row t of the result is row t - 1 of `x`, and row 0 is `first`.

    Args:
        x: (*leading, T, k).
        first: What stands before the first row, (*leading, k) or what broadcasts to it.

    Returns:
        (*leading, T, k), of the dtype of `x`.

    Example:
        >>> shift(torch.tensor([[1.0], [2.0], [3.0]]), torch.zeros(1)).squeeze(-1)
        tensor([0., 1., 2.])
    """
    row = first.to(x.dtype).expand(*x.shape[:-2], x.shape[-1])[..., None, :]
    return torch.cat([row, x[..., :-1, :]], -2)


def tmap(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """Applies a function to every tensor of a tree (or of several trees of one build).

    Args:
        function: Takes one tensor of each tree.
        tree: The first tree, whose build the result has.
        *others: Trees of the same build.

    Returns:
        The tree of results. What is not a tensor is taken from the first tree.

    Raises:
        InputError: The trees are built differently.

    Example:
        >>> tmap(lambda a: a + 1, {"h": torch.zeros(2), "c": (torch.ones(1), None)})
        {'h': tensor([1., 1.]), 'c': (tensor([2.]), None)}
    """
    if isinstance(tree, Tensor):
        return function(tree, *others)
    for other in others:
        if type(other) is not type(tree):
            raise InputError(_differently(tree, other))
    if isinstance(tree, dict):
        if any(other.keys() != tree.keys() for other in others):
            raise InputError(_differently(tree, *others[:1]))
        return {k: tmap(function, v, *(other[k] for other in others)) for k, v in tree.items()}
    if isinstance(tree, tuple | list):
        if any(len(other) != len(tree) for other in others):
            raise InputError(_differently(tree, *others[:1]))
        mapped = [tmap(function, *parts) for parts in zip(tree, *others, strict=True)]
        make = getattr(type(tree), "_make", type(tree))  # a named tuple takes its fields apart
        return make(mapped)
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        names = [f.name for f in dataclasses.fields(tree) if f.init]
        parts = {
            name: tmap(function, getattr(tree, name), *(getattr(o, name) for o in others))
            for name in names
        }
        return dataclasses.replace(tree, **parts)
    return tree


def _differently(tree: Any, other: Any) -> str:
    def build(t: Any) -> str:
        inner = list(t) if isinstance(t, dict) else len(t) if isinstance(t, tuple | list) else ""
        return f"{type(t).__name__} {inner}".strip()

    return expected("tree", build(tree), build(other), "Give trees of the same build.")


def leaves(tree: Any) -> Iterator[Tensor]:
    """The tensors of a tree, in the order in which `tmap` meets them.

    Example:
        >>> [tuple(x.shape) for x in leaves((torch.zeros(2), {"c": torch.zeros(3, 1)}, None))]
        [(2,), (3, 1)]
    """
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, dict):
        for part in tree.values():
            yield from leaves(part)
    elif isinstance(tree, tuple | list):
        for part in tree:
            yield from leaves(part)
    elif dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        for field in dataclasses.fields(tree):
            if field.init:
                yield from leaves(getattr(tree, field.name))


def gather(tree: Any, ancestors: Tensor) -> Any:
    """Resampling: every tensor of the tree takes, series by series, the rows of its ancestors.

    Args:
        tree: Tensors (K, *batch, *event), the sample axis first.
        ancestors: Which of the K each of the N new samples descends from, (N, *batch) integers.

    Returns:
        The tree with tensors (N, *batch, *event).

    Raises:
        InputError: A tensor lacks the batch axes of `ancestors`.

    Example:
        >>> particles = torch.tensor([[10.0, 20.0], [11.0, 21.0]])  # K = 2, a batch of 2, no event
        >>> gather(particles, torch.tensor([[1, 0], [1, 1]]))
        tensor([[11., 20.],
                [11., 21.]])
    """
    batch = ancestors.shape[1:]

    def take(x: Tensor) -> Tensor:
        if x.ndim < ancestors.ndim or x.shape[1 : ancestors.ndim] != batch:
            raise InputError(
                expected(
                    "tree",
                    f"tensors with axes (K, {', '.join([*map(str, batch), '...'])})",
                    f"shape {tuple(x.shape)}",
                    "Expand it over the samples first.",
                )
            )
        index = align(ancestors, x.ndim).expand(*ancestors.shape, *x.shape[ancestors.ndim :])
        return x.gather(0, index)

    return tmap(take, tree)


def where_tree(active: Tensor, new: Any, old: Any) -> Any:
    """Takes `new` where `active` and `old` elsewhere, tensor by tensor.

    Args:
        active: Booleans that broadcast from the left: (*sample, *batch), an axis of size 1 where
            it is the same for all.
        new: A tree of tensors (*sample, *batch, *event).
        old: A tree of the same build and shapes.

    Example:
        >>> active = torch.tensor([True, False])
        >>> where_tree(active, torch.ones(2, 3), torch.zeros(2, 3))
        tensor([[1., 1., 1.],
                [0., 0., 0.]])
    """

    def choose(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(align(active, a.ndim), a, b)

    return tmap(choose, new, old)


def row_at(x: Tensor, at: Tensor, rank: int) -> Tensor:
    """Row `at` (*batch,) of each series of x (*batch, T, *event), as (*batch, 1, *event).

    The two batches broadcast; `rank` is how many axes that of x has. What comes back has memory of
    its own.

    Example:
        >>> row_at(torch.arange(6.0).reshape(2, 3), torch.tensor([2, 0]), 1)
        tensor([[2.],
                [3.]])
    """
    if at.numel() and bool((at == at.reshape(-1)[0]).all()):
        return x.narrow(rank, int(at.reshape(-1)[0]), 1).clone()
    lead = torch.broadcast_shapes(at.shape, x.shape[:rank])
    x = x.expand(*lead, *x.shape[rank:])
    index = at.expand(lead)[(..., *(None,) * (x.ndim - len(lead)))]
    return x.take_along_dim(index, len(lead))
