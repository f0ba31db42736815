"""Which particles go on, and where they are proposed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from statespace.beliefs import Finite, Tree
from statespace.densities import observed_log_prob
from statespace.interface import Context, Guide, Method, Row, State
from statespace.interface.walking import advance, prior_at
from statespace.particles import ancestors_at, effective_size, normalise, uniforms

__all__ = ["DEFENCE", "Selection", "outlook", "selected"]

DEFENCE = 0.05  # share of ancestors of the auxiliary filter that are chosen without a look ahead


@dataclass(frozen=True)
class Selection:
    """How particles are selected and proposed; see `ParticleFilter`.

    Attributes:
        proposal: Its argument.
        scheme: Of resampling.
        threshold: Likewise.
        pathwise: Values are drawn with a gradient, through which weights are differentiated; that
            of the selection is left out (Maddison et al. 2017).
    """

    proposal: Any
    scheme: str
    threshold: float
    pathwise: bool = False

    def density(
        self, model: Any, z: Tree, ctx: Context, row: Row, prior: Distribution
    ) -> Distribution | None:
        """q(z_t | .), or None where it is the prior."""
        if isinstance(self.proposal, Guide):
            found: Distribution = self.proposal(z, row.e, ctx, prior)
            return found
        if isinstance(self.proposal, Method):
            return self.proposal.propose(model, z, ctx, row, prior)
        return None


def selected(
    model: Any, state: State, memory: Tree, h: Tensor, row: Row, how: Selection
) -> tuple[Tensor | None, Tensor]:
    """Ancestors, None where everyone stays, and the log weights after selection.

    The weights keep the gradient of their lineage: a selected particle weighs 1/K, times
    w / stop(w). At the first row all particles are equal and nothing is selected. At every other
    row as many random numbers are drawn, whether they are needed or not: what a series draws
    hangs neither on the data nor on the series beside it.

    Args:
        model: The model.
        state: Before the row.
        memory: The particles', advanced already where the memory comes first.
        h: What is read from it.
        row: The row that arrives.
        how: Scheme and threshold.
    """
    belief: Any = state.belief
    log_w: Tensor = belief.log_weights
    num = log_w.shape[0]
    if state.t == 0 or how.threshold == 0:
        return None, log_w
    uniform = uniforms(log_w, num, how.scheme)
    plain = log_w.detach()
    if how.proposal == "auxiliary":
        pays = row.observed.any(-1) & row.active
        guess = outlook(model, state, memory, h, row)
        looked, _ = normalise(plain + torch.where(pays, guess, torch.zeros_like(guess)))
        # some go on by their weights: a promise may be far too low, and then nothing bounds w / q
        first = torch.logaddexp(looked + math.log1p(-DEFENCE), plain + math.log(DEFENCE))
    else:
        first = plain
    # a hair above 1, so that threshold 1 means always
    needed = (effective_size(first) <= how.threshold * num * (1 + 1e-9)) & row.active
    if not bool(needed.any()):
        return None, log_w
    if how.pathwise:
        log_w = plain
    if bool(needed.all()):
        ancestors = ancestors_at(first, uniform, num, how.scheme)
        return ancestors, log_w.gather(0, ancestors) - first.gather(0, ancestors) - math.log(num)
    own = torch.arange(num, device=log_w.device).reshape(-1, *(1,) * (log_w.dim() - 1))
    ancestors = own.expand(log_w.shape).clone()  # of few series: the others are not looked at
    ancestors[:, needed] = ancestors_at(first[:, needed], uniform[:, needed], num, how.scheme)
    new = log_w.gather(0, ancestors) - first.gather(0, ancestors) - math.log(num)
    return ancestors, torch.where(needed, new, belief.log_weights)


@torch.no_grad()
def outlook(model: Any, state: State, memory: Tree, h: Tensor, row: Row) -> Tensor:
    """What each particle promises for y_t, as a log density, (K, *batch).

    p(y_t | z_{t-1}) itself where z is finite; at the mean of the transition where it is a vector
    (Pitt and Shephard 1999).
    """
    belief: Any = state.belief
    t = torch.tensor(state.t, device=row.y.device)
    lead = belief.log_weights.shape
    prior = prior_at(model, state.t, belief.z, Context(t, row.u, h)).expand(lead)
    if isinstance(model.latent, Finite):
        k = torch.arange(model.latent.size, device=row.y.device)
        z = k.reshape(-1, *(1,) * len(lead)).expand(-1, *lead)  # every value of every particle
        log_prior = prior.log_prob(z)
    else:
        z, log_prior = prior.mean, None
    if model.order == "z then h":
        _, h = advance(model, memory, z, state.y, t, row.u)
    promise = observed_log_prob(model.emission(z, Context(t, row.u, h)), row.y, row.observed)
    return promise.expand(lead) if log_prior is None else (log_prior + promise).logsumexp(0)
