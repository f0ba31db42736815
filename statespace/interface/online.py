"""One row at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from statespace.interface.drawing import read_shape
from statespace.interface.question import as_filter, check_is_state, settle, stamp, stream
from statespace.interface.randomness import lend, seeded
from statespace.interface.values import Info, Row, State
from statespace.sequences import read_input_row, read_row

__all__ = ["start", "step"]


def start(model: Any, batch_shape: Any, condition: Any, method: Any, seed: Any) -> State:
    """See `Verbs.start`."""
    own_shape = read_shape(batch_shape, "batch_shape")
    batch = torch.broadcast_shapes(own_shape, model.batch_shape)
    method = as_filter(model, settle(model, method, None, None), "start")
    own, _ = seeded(seed, model.device)
    condition = () if condition is None else condition
    with lend(own) as lent, torch.no_grad():
        state = method.start(model, batch, condition, lent)
    return stamp(state, model, method, own, batch)


def step(model: Any, state: Any, y_t: Any, u_t: Any, mask: Any) -> tuple[State, Info]:
    """See `Verbs.step`."""
    check_is_state(state)
    method = as_filter(model, settle(model, None, state, None), "step")
    row = _read_row(model, state, y_t, u_t, mask)
    own, _ = stream(None, state, model.device)
    with lend(own) as lent, torch.no_grad():
        new, info = method.step(model, replace(state, generator=lent), row)
    return stamp(new, model, method, own, state.batch_shape), info


def _read_row(model: Any, state: State, y_t: Any, u_t: Any, mask: Any) -> Row:
    where: dict[str, Any] = {
        "batch_shape": state.batch_shape,
        "dtype": model.dtype,
        "device": model.device,
    }
    y, observed = read_row(
        y_t, obs_dim=model.obs_dim, mask=mask, integer=model.categorical, **where
    )
    model.check_values(y, observed, "y_t")
    u: Tensor = read_input_row(u_t, input_dim=model.input_dim, **where)
    active = torch.ones(state.batch_shape, dtype=torch.bool, device=model.device)
    return Row(y, observed, active, u)
