"""The one stochastic step: select, move, weigh.

    a_k ~ selection
    z_k ~ q(z_t | z_{t-1} of a_k, y_t)
    w_k = w_{a_k} p(z_k | z_{t-1} of a_k) p(y_t | z_k) / q(z_k)

The increment of the log-likelihood is log sum_k w_k, with w normalised before the step. Values
are drawn without gradient; the weights carry the gradient of log p(z, y) along each lineage,
which at the end is Fisher's identity: the average of the joint score over the particles
(Poyiadjis, Doucet and Singh 2011; written as stopped gradients by Scibior and Wood 2021).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from statespace.beliefs import Tree
from statespace.densities import complete, observed_log_prob
from statespace.errors import NumericalError, place
from statespace.inference.particle.select import Selection, selected
from statespace.interface import Context, Row, State
from statespace.interface.walking import advance, prior_at, spread, view
from statespace.particles import Particles, normalise
from statespace.shapes import gather, tmap, where_tree

__all__ = ["Moved", "ParticleBelief", "beginning", "move", "one_per_particle"]


@dataclass(frozen=True)
class ParticleBelief(Particles):
    """Particles of z_t.

    Attributes:
        carried: Each particle has a memory of its own; otherwise one memory serves all.
    """

    carried: bool = False


@dataclass(frozen=True)
class Moved:
    """All that one step computes.

    Attributes:
        state: The new state.
        z: The new particles, also of series that have ended.
        before: The log weights that the new particles have before y is seen, of any sum.
        ancestors: (K, *batch), which particle of the step before each descends from.
        increment: (*batch,).
        emission: p(y_t | z_t) at the new particles.
        ctx: What z_t saw.
        y: (K, *batch, m), with what was missing drawn; None where nobody asked.
    """

    state: State
    z: Tree
    before: Tensor
    ancestors: Tensor
    increment: Tensor
    emission: Distribution
    ctx: Context
    y: Tensor | None

    @property
    def predicted(self) -> ParticleBelief:
        """The new particles with the weights that they have before y is seen."""
        belief: Any = self.state.belief
        return replace(belief, z=self.z, log_weights=normalise(self.before)[0])


def beginning(model: Any, num: int, batch: Any, memory: Tree) -> State:
    """K equal particles at the origin, over a memory (*batch, .) that has read nothing."""
    lead = torch.Size((num, *batch))
    z, y = model.origin(lead)
    carried = "z" in model.reads
    y = y if "y" in model.reads else y[..., :0]
    y = y if carried else y[0]
    even = torch.full(lead, -math.log(num), dtype=model.dtype, device=model.device)
    belief = ParticleBelief(z, even, model.latent, carried)
    memory = spread(memory, lead if carried else lead[1:])
    return State(0, belief, memory, y, torch.default_generator)


def one_per_particle(state: State) -> State:
    """The same state with a memory and a y for each particle, (K, *batch, .)."""
    belief: Any = state.belief
    if belief.carried:
        return state
    lead = belief.log_weights.shape
    y = state.y.expand(*lead, state.y.shape[-1])
    return replace(
        state, belief=replace(belief, carried=True), memory=spread(state.memory, lead), y=y
    )


def move(model: Any, state: State, row: Row, how: Selection, *, keep_y: bool = False) -> Moved:
    """One step, for every series that has not ended.

    Args:
        model: The model.
        state: Of K particles.
        row: The row that arrives.
        how: Proposal, scheme and threshold.
        keep_y: Draw missing entries of y also where the memory does not read them.
    """
    drawn = "y" in model.reads and not _seen(row)
    if drawn:
        state = one_per_particle(state)
    old: Any = state.belief
    memory, t = state.memory, torch.tensor(state.t, device=row.y.device)
    early = model.order == "h then z"
    if early:
        memory, h = advance(model, memory, old.z, state.y, t, row.u)
    else:
        h = view(model, memory, row.u)
    ancestors, log_w = selected(model, state, memory, h, row, how)
    z, y = old.z, state.y
    if ancestors is not None:
        z = gather(z, ancestors)
        memory, h, y = _follow((memory, h, y), ancestors, old.carried)
    ctx = Context(t, row.u, h)
    prior = prior_at(model, state.t, z, ctx).expand(log_w.shape)
    z, log_w = _propose(model, z, ctx, row, prior, log_w, how)
    if not early:
        memory, h = advance(model, memory, z, y, t, row.u)
    emission = model.emission(z, Context(t, row.u, h))
    before = log_w
    log_w, increment, filled = _weigh(emission, row, log_w, drawn, drawn or keep_y)
    _check(increment, row, state.t)
    y = filled if drawn and filled is not None else row.y
    y = y.expand(*log_w.shape, y.shape[-1]) if old.carried else y
    belief = ParticleBelief(z, log_w, model.latent, old.carried)
    y = y if "y" in model.reads else state.y
    new = State(state.t + 1, belief, memory, y, state.generator, guide=state.guide)
    return Moved(
        state=_keep_ended(new, state, row.active),
        z=z,
        before=before,
        ancestors=_own(log_w) if ancestors is None else ancestors,
        increment=torch.where(row.active, increment, torch.zeros_like(increment)),
        emission=emission,
        ctx=ctx,
        y=filled,
    )


def _weigh(
    emission: Distribution, row: Row, log_w: Tensor, drawn: bool, wanted: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Normalised log weights, the increment, and y with what was missing drawn, if wanted."""
    log_w = log_w + observed_log_prob(emission, row.y, row.observed)
    filled = None
    if wanted:  # nothing is drawn where nothing is missing
        whole = emission.expand(log_w.shape)
        every = _seen(row)
        filled = row.y.expand(*log_w.shape, -1) if every else complete(whole, row.y, row.observed)
    if drawn and torch.is_grad_enabled():
        log_w = log_w + _score_of_drawn(emission, filled, row)
    log_w, increment = normalise(log_w)
    return log_w, increment, filled


def _seen(row: Row) -> bool:
    """Whether every series that goes on was observed completely."""
    return bool((row.observed.all(-1) | ~row.active).all())


def _own(log_w: Tensor) -> Tensor:
    """Everyone its own ancestor."""
    k = torch.arange(log_w.shape[0], device=log_w.device)
    return k.reshape(-1, *(1,) * (log_w.dim() - 1)).expand(log_w.shape)


def _follow(tree: Tree, ancestors: Tensor, carried: bool) -> Tree:
    """Resamples what each particle has of its own; what all share stays."""
    if not carried:
        return tree

    def take(leaf: Tensor) -> Tensor:
        own = leaf.expand(*ancestors.shape, leaf.shape[-1])
        return gather(own, ancestors)

    return tmap(take, tree)


def _propose(
    model: Any, z: Tree, ctx: Context, row: Row, prior: Distribution, log_w: Tensor, how: Selection
) -> tuple[Tree, Tensor]:
    """New values, and log weights with p / q in them."""
    q = how.density(model, z, ctx, row, prior)
    if how.pathwise:
        if q is None:
            return prior.rsample(), log_w
        new = q.expand(log_w.shape).rsample()
        return new, log_w + prior.log_prob(new) - q.log_prob(new)
    with torch.no_grad():
        new = prior.sample() if q is None else q.expand(log_w.shape).sample()
    if q is not None:
        return new, log_w + prior.log_prob(new) - q.log_prob(new).detach()
    if torch.is_grad_enabled():
        log_prior = prior.log_prob(new)  # its value cancels, its gradient stays
        return new, log_w + log_prior - log_prior.detach()
    return new, log_w


def _score_of_drawn(emission: Distribution, filled: Any, row: Row) -> Tensor:
    """Zero, with the gradient of log p(y_missing | y_observed, z): what was drawn is latent too."""
    everything = torch.ones_like(row.observed)
    hidden = observed_log_prob(emission, filled, everything)
    hidden = hidden - observed_log_prob(emission, row.y, row.observed)
    return hidden - hidden.detach()


def _keep_ended(new: State, old: State, active: Tensor) -> State:
    """A series that is over stands still at its own end."""
    if bool(active.all()):
        return new
    b: Any = new.belief
    kept: Any = old.belief
    pick = active[None]
    belief = ParticleBelief(
        where_tree(pick, b.z, kept.z),
        torch.where(pick, b.log_weights, kept.log_weights),
        b.space,
        b.carried,
    )
    on = pick if b.carried else active
    lead = b.log_weights.shape if b.carried else active.shape

    def choose(a: Tensor, b: Tensor) -> Tensor:
        wide = (*lead, a.shape[-1])
        return torch.where(on[..., None], a.expand(wide), b.expand(wide))

    memory = tmap(choose, new.memory, old.memory)
    return replace(new, belief=belief, memory=memory, y=choose(new.y, old.y))


def _check(increment: Tensor, row: Row, t: int) -> None:
    bad = torch.isnan(increment) & row.active
    if bool(bad.any()):
        series = bad.nonzero()[0].tolist()
        raise NumericalError(
            f"The particle weights are NaN at {place(series, t)}. Check the parameters and the "
            "densities of the model at that row."
        )
