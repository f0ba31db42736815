"""A model as a Pyro program: one site for every state and every observation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pyro
import torch
from torch import Tensor
from torch.distributions import Distribution

from statespace.beliefs import Finite, Real, rank
from statespace.errors import InputError, InputTypeError, expected
from statespace.interface import Amortised, Context, StateSpaceModel
from statespace.interface.question import Question, read
from statespace.interface.walking import advance, begin, contexts, prior_at, spread, view
from statespace.pyro.density import Density
from statespace.sequences import Sequences
from statespace.shapes import tmap

__all__ = ["guide", "model"]

Program = Callable[..., Any]


def model(m: StateSpaceModel) -> Program:
    """A Pyro program with sites z_1, y_1, ..., z_T, y_T; SVI, Predictive and MCMC apply to it.

    Batch axes are plates, the parameters are registered with `pyro.module`. Entries of y that are
    NaN are integrated out, rows beyond a series' length do not count.

    Args:
        m: Any model whose state is a vector or finite.

    Returns:
        `program(y, inputs=None, *, mask=None, lengths=None, condition=None)`, which scores
        y; or, with y None, `program(None, inputs, num_steps=T)`, which draws y too. It returns y,
        (*batch, T, m).

    Raises:
        InputTypeError: the state is neither a vector nor finite.
        InputError: from the program: y is missing where the memory reads it.

    Example:
        >>> import statespace as ss
        >>> rnn = ss.NoisyRNN(2, 1, seed=0)
        >>> drawn = pyro.infer.Predictive(ss.pyro.model(rnn), num_samples=5)(None, num_steps=3)
        >>> drawn["y_3"].shape
        torch.Size([5, 1])
    """
    given: Any = m
    if not isinstance(given, StateSpaceModel):
        got = type(given).__name__
        raise InputTypeError(expected("m", "a model", got, "Give the model itself."))
    if not isinstance(m.latent, Real | Finite):
        todo = "Write its sites yourself, from `initial`, `transition` and `emission`."
        raise InputTypeError(expected("m", "a state that is Real or Finite", str(m.latent), todo))

    def program(
        y: Any = None,
        inputs: Any = None,
        *,
        mask: Any = None,
        lengths: Any = None,
        condition: Any = None,
        num_steps: int | None = None,
    ) -> Tensor:
        pyro.module("statespace", m)
        asked = Question(mask=mask, lengths=lengths, condition=condition)
        data = read(m, _to_draw(m, num_steps) if y is None else y, inputs, asked)
        if y is not None:
            _check_fed_back(m, data)
        return _walk(m, data, drawing=y is None)

    return program


def guide(m: StateSpaceModel) -> Program:
    """The guide of a model as a Pyro guide: q(z_t | z_{t-1}, h_t, e_t) at sites z_1, ..., z_T.

    Args:
        m: A model that carries a guide.

    Returns:
        `program(y, inputs=None, *, mask=None, lengths=None, condition=None)`.

    Raises:
        InputTypeError: the model has no guide.
    """
    if not isinstance(m, Amortised):
        got, todo = type(m).__name__, "Use one of Pyro's autoguides."
        raise InputTypeError(expected("m", "a model that carries a guide", got, todo))

    def program(
        y: Any,
        inputs: Any = None,
        *,
        mask: Any = None,
        lengths: Any = None,
        condition: Any = None,
        **_: Any,
    ) -> None:
        pyro.module("statespace", m)
        data = read(m, y, inputs, Question(mask=mask, lengths=lengths, condition=condition))
        _check_fed_back(m, data)
        ahead = data.inputs[..., :0] if "z" in m.reads else contexts(m, data, None)[0].h
        e = m.guide.encode(data, ahead)

        def propose(t: int, z: Any, ctx: Context, prior: Distribution) -> Distribution:
            return m.guide(z, tmap(lambda leaf: leaf[..., t, :], e), ctx, prior)

        _walk(m, data, drawing=False, propose=propose)

    return program


def _to_draw(m: StateSpaceModel, num_steps: int | None) -> Tensor:
    """Rows in which nothing is observed."""
    if num_steps is None:
        todo = "Give the number of rows to draw."
        raise InputError(expected("num_steps", "a number of rows where y is None", "None", todo))
    if m.categorical:
        return torch.zeros(num_steps, m.obs_dim, dtype=torch.int64)
    return torch.zeros(num_steps, m.obs_dim, dtype=m.dtype)


def _check_fed_back(m: StateSpaceModel, data: Sequences) -> None:
    if "y" in m.reads and not data.complete:
        todo = "Fill the gaps, or use ParticleFilter, which draws them."
        got = "missing entries, which the memory reads"
        raise InputError(expected("y", "no missing entries", got, todo))


def _walk(m: Any, data: Sequences, *, drawing: bool, propose: Any = None) -> Tensor:
    """All sites in order; those of a guide where `propose` is given."""
    now = begin(m, data.batch_shape, data.condition)
    z, y, memory, rows = now.z, now.y, now.memory, []
    with _plates(data.batch_shape):
        for i in range(data.T):
            t, u = torch.tensor(i, device=data.values.device), data.inputs[..., i, :]
            on = data.active[..., i]
            before = view(m, memory, u)
            if m.order == "h then z":
                memory, before = _advanced(m, memory, z, y, t, u)
            prior = prior_at(m, i, z, Context(t, u, before))
            found = prior if propose is None else propose(i, z, Context(t, u, before), prior)
            if m.latent != Real(0):
                z = pyro.sample(f"z_{i + 1}", Density(found).mask(on))
            h = before
            if m.order == "z then h":
                memory, h = _advanced(m, memory, z, y, t, u)
            if propose is None:
                y = _emitted(m, data, i, z, Context(t, u, h), drawing)
                rows.append(y)
            else:
                y = data.values[..., i, :]
    return torch.stack(rows, -2) if rows else data.values


def _advanced(m: Any, memory: Any, z: Any, y: Tensor, t: Tensor, u: Tensor) -> tuple[Any, Tensor]:
    """The memory over the axes of z and y, which plates on the left may have added."""
    lead = torch.broadcast_shapes(z.shape[: z.dim() - rank(m.latent)], y.shape[:-1])
    return advance(m, spread(memory, lead), z, y, t, u)


def _emitted(m: Any, data: Sequences, i: int, z: Any, ctx: Context, drawing: bool) -> Tensor:
    """The site of y_t."""
    density = m.emission(z, ctx)
    on = data.active[..., i]
    if drawing:
        drawn: Tensor = pyro.sample(f"y_{i + 1}", Density(density))
        return drawn
    y, observed = data.values[..., i, :], data.observed[..., i, :]
    partly = None if data.complete else observed
    pyro.sample(f"y_{i + 1}", Density(density, partly).mask(on), obs=y)
    return y


@contextmanager
def _plates(shape: torch.Size) -> Iterator[None]:
    with ExitStack() as stack:
        for i, size in enumerate(shape):
            name = "series" if len(shape) == 1 else f"series_{i + 1}"
            stack.enter_context(pyro.plate(name, size, dim=i - len(shape)))
        yield
