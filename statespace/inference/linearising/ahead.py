"""Forecasts: moments by linearised rows in which nothing is seen, draws by the model itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Generator, Tensor

from statespace.densities import is_gaussian
from statespace.inference.linearising.loop import Passed
from statespace.inference.linearising.task import Rows, Task, task
from statespace.interface import State, lend
from statespace.interface.walking import Moment, run_freely
from statespace.results import Forecast

__all__ = ["forecast"]

_DRAWS = 1000  # behind a quantile of what is not Gaussian


def forecast(
    method: Any,
    model: Any,
    state: State,
    inputs: Tensor,
    num_samples: int | None,
    generator: Generator,
    moments: Callable[[Any, Task], Passed],
) -> Forecast | None:
    """The rows after a state; None where y has no moments.

    Quantiles are those of the Gaussian marginals where y is Gaussian given z; else, and where
    `num_samples` is given, those of draws.

    Args:
        method: Whose state it is.
        model: The model.
        state: Where the rows begin.
        inputs: (*batch, horizon, p).
        num_samples: How many draws stand behind quantiles; None for the rule above.
        generator: Random numbers.
        moments: The pass.
    """
    shape = (*inputs.shape[:-1], model.obs_dim)
    y = torch.zeros(shape, dtype=inputs.dtype, device=inputs.device)
    unseen = torch.zeros(shape, dtype=torch.bool, device=y.device)
    at = task(model, Rows(y, unseen, ~unseen.any(-1), inputs), state)
    with torch.no_grad():
        found = moments(model, at)
    if found.y_mean is None:
        return None

    def draw(num: int, source: Generator) -> Tensor:
        with torch.no_grad(), lend(source) as lent:
            z, memory, past = method.draws(model, state, num, lent)
            drawn: Tensor = run_freely(model, Moment(state.t, z, memory, past), inputs)[1]
            return drawn

    last = model.emission(found.mean[..., -1, :], at.after.row(-1))
    num = _DRAWS if num_samples is None and not is_gaussian(last) else num_samples
    return Forecast(
        mean=found.y_mean,
        cov=found.y_cov,
        z_mean=found.mean,
        z_cov=found.cov,
        kind="approximate",
        sampler=draw,
        quantile_fn=None if num is None else _quantiles(draw, num, generator),
    )


def _quantiles(
    draw: Callable[[int, Generator], Tensor], num: int, generator: Generator
) -> Callable[[Tensor], Tensor]:
    """Quantiles of draws that are made when they are first asked for, always the same ones."""
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))

    @cache
    def drawn() -> Tensor:
        return draw(num, Generator(generator.device).manual_seed(seed))

    return lambda q: torch.quantile(drawn(), q.to(drawn()), 0)
