"""A state through a chain of maps, by halves: the parallel prefix over time (Blelloch 1990)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

__all__ = ["through"]

Map = TypeVar("Map", bound="tuple[Any, ...]")


def through(
    state: Tensor,
    maps: Map,
    steps: int,
    joined: Callable[[Map, Map], Map],
    after: Callable[[Tensor, Map], Tensor],
) -> Tensor:
    """The state after each of the maps.

    Neighbours are joined into half as many maps, their states found likewise, and the states
    between them by one more application each: fewer than `steps` joins and `steps` applications,
    in log2(steps) rounds each of which is one batched operation over time.

    Args:
        state: (*), before the first map; of the full batch.
        maps: A named tuple of tensors, time first; size 1 where nothing changes over time, which
            then costs one join a round.
        steps: How many maps there are, at least one.
        joined: One map for two in sequence, the first of them first; batched over time.
        after: The state that a map leaves; batched over time.

    Returns:
        (steps, *).
    """
    if steps == 1:
        return after(state[None], maps)
    pairs = joined(_every_other(maps, 0, steps), _every_other(maps, 1, steps))
    late = through(state, pairs, steps // 2, joined, after)  # after maps 1, 3, 5, ...
    before = torch.cat([state[None], late[: (steps - 1) // 2]])
    early = after(before, type(maps)(*(x[::2] for x in maps)))
    out = early.new_empty(steps, *early.shape[1:])
    out[::2], out[1::2] = early, late
    return out


def _every_other(maps: Map, first: int, steps: int) -> Map:
    """Maps first, first + 2, ... of whole pairs."""
    even = steps - steps % 2
    return type(maps)(*(x[first:even:2] if x.shape[0] > 1 else x for x in maps))
