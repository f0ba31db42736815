"""Guides: an encoder of the observations and a posterior head."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from statespace.beliefs import Tree
from statespace.interface import Context, Guide
from statespace.nn.encoders import Encoder
from statespace.nn.layers import Dropout
from statespace.nn.posteriors import Posterior
from statespace.nn.readers import Numbers, Tokens
from statespace.sequences import Sequences
from statespace.shapes import join

__all__ = ["NeuralGuide", "encoder_features"]


def encoder_features(seen: Numbers | Tokens, obs_dim: int, input_dim: int, memory: int) -> int:
    """How many features an encoder reads: y, which entries are missing, u, and perhaps h."""
    return seen.width + obs_dim + input_dim + memory


class NeuralGuide(Guide):
    """q(z_t | z_{t-1}, e_t, h_t), e = encoder([y, what is missing of y, u, h]).

    An entry that was not observed is seen as zero, with a mark beside it.

    Args:
        seen: What it sees of y.
        inputs_seen: What it sees of u.
        encoder: From features to e.
        posterior: From e (and z_{t-1}, h_t) to the density.
        encodes_memory: Whether the encoder reads h too; of a memory that runs ahead of z.
        dropout: Share of the encoder's input that is left out while a learner climbs.
    """

    def __init__(
        self,
        seen: Numbers | Tokens,
        inputs_seen: Numbers,
        encoder: Encoder,
        posterior: Posterior,
        *,
        encodes_memory: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.seen, self.inputs_seen = seen, inputs_seen
        self.encoder, self.posterior = encoder, posterior
        self.encodes_memory = encodes_memory
        self.dropout = Dropout(dropout)
        self.causal = encoder.causal
        self.reads = posterior.reads
        self.reads_prior = posterior.reads_prior

    def _features(self, data: Sequences, h: Tensor) -> Tensor:
        y = self.seen(data.values)
        on = data.observed if isinstance(self.seen, Numbers) else data.observed[..., :1]
        y = torch.where(on, y, torch.zeros((), dtype=y.dtype, device=y.device))
        hidden = (~data.observed & data.active[..., None]).to(y.dtype)
        parts = [y, hidden, self.inputs_seen(data.inputs)]
        return join(*parts, h) if self.encodes_memory else join(*parts)

    def encode(self, data: Sequences, h: Tensor) -> Tree:
        """(*batch, T, width)."""
        lengths = torch.full_like(data.lengths, data.T) if self.causal else data.lengths
        e: Tree = self.encoder(self.dropout(self._features(data, h)), lengths)[0]
        return e

    def encode_on(self, data: Sequences, h: Tensor, memory: Tree) -> tuple[Tree, Tree]:
        """The same from where a causal encoder ended, and where it ends now."""
        x = self.dropout(self._features(data, h))
        found: tuple[Tree, Tree] = self.encoder(x, data.lengths, memory)
        return found

    def forward(self, z: Tree, e: Tree, ctx: Context, prior: Distribution) -> Distribution:
        """The density."""
        found: Distribution = self.posterior(z, e, ctx.h, prior)
        return found

    @property
    def chained(self) -> bool:
        """Where the posterior is."""
        return self.posterior.chained

    def chain(self, z: Tensor, e: Tree, h: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The posterior's."""
        return self.posterior.chain(z, e, h, noise)

    def learn(self, values: Tensor, seen: Tensor, inputs: Tensor, rows: Tensor) -> None:
        """Takes the units of some data."""
        self.seen.learn(values, seen)
        self.inputs_seen.learn(inputs, rows)
