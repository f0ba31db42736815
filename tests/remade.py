"""A model of the table of cases again, with every value held, and changed on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

import statespace as ss

MOMENTS = ("initial_mean", "initial_cov")
COVARIANCES = ("Q", "R", "initial_cov")


def names_of(model: Any) -> list[str]:
    """The parameters that act, those of a start that is not written down left out."""
    known = {"known", "estimate"} & set(model.kinds)
    return [
        name
        for name, slot in model.slots.items()
        if (known or name not in MOMENTS) and 0 not in slot.event
    ]


def remade(model: Any, change: Callable[[str, Tensor], Any]) -> Any:
    """The LDS with `change(name, value)` in the place of each value, held, its graph kept."""
    held: dict[str, Any] = {}
    for name in names_of(model):
        slot = model.slots[name]
        value = change(name, slot.value().detach())
        held[name] = ss.Varying(value) if slot.varies else ss.Fixed(value)
    return model.replace(**held)
