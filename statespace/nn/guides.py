"""Guides: an encoder of the observations and a posterior head."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from statespace.beliefs import Real, Tree
from statespace.errors import InputError, expected
from statespace.interface import Context, Guide, StateSpaceModel
from statespace.nn.encoders import Encoder
from statespace.nn.encoders import encoder as make_encoder
from statespace.nn.layers import Dropout
from statespace.nn.posteriors import POSTERIORS, Posterior
from statespace.nn.posteriors import posterior as make_posterior
from statespace.nn.readers import Numbers, Tokens
from statespace.sequences import Sequences
from statespace.shapes import join

__all__ = ["NeuralGuide", "encoder_features", "neural_guide"]


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
        skip: Whether what the encoder reads of a row stands beside what it makes of it, in e.
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
        skip: bool = False,
    ) -> None:
        super().__init__()
        self.seen, self.inputs_seen = seen, inputs_seen
        self.encoder, self.posterior = encoder, posterior
        self.encodes_memory = encodes_memory
        self.dropout, self.skip = Dropout(dropout), skip
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
        return self._made(data, h, lengths, ())[0]

    def encode_on(self, data: Sequences, h: Tensor, memory: Tree) -> tuple[Tree, Tree]:
        """The same from where a causal encoder ended, and where it ends now."""
        return self._made(data, h, data.lengths, memory)

    def _made(self, data: Sequences, h: Tensor, lengths: Tensor, memory: Tree) -> tuple[Tree, Tree]:
        x = self.dropout(self._features(data, h))
        e, end = self.encoder(x, lengths, memory)
        return (torch.cat([e, x.expand(*e.shape[:-1], x.shape[-1])], -1) if self.skip else e), end

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


def neural_guide(
    model: StateSpaceModel,
    hidden_dim: int,
    *,
    encoder: str = "both",
    posterior: str = "product",
    cell: str = "gru",
) -> NeuralGuide:
    """A guide that fits a model: the sizes and the dtype are taken from it.

    Args:
        model: A model whose state is a vector, and whose y holds numbers.
        hidden_dim: The width of e, and of a layer behind it.
        encoder: "pointwise", "causal", "anticausal" or "both".
        posterior: "product", "residual", "mlp" or "combiner".
        cell: "gru", "lstm" or "rnn".

    Raises:
        InputError: another state, categories, or an unknown word.

    Example:
        >>> import statespace as ss
        >>> neural_guide(ss.LDS(2, 1, seed=0), 8, encoder="causal").causal
        True
    """
    if not isinstance(model.latent, Real) or not model.latent.size or model.categorical:
        got = f"{model.latent}" + (" and a y of categories" if model.categorical else "")
        wanted, todo = "a state that is a vector, and a y of numbers", "Write a guide of your own."
        raise InputError(expected("model", wanted, got, todo))
    if posterior not in POSTERIORS:
        wanted = "one of " + ", ".join(f'"{word}"' for word in POSTERIORS)
        raise InputError(expected("posterior", wanted, repr(posterior), "Choose one of them."))
    dtype, width = model.dtype, hidden_dim
    seen, inputs_seen = Numbers(model.obs_dim, dtype), Numbers(model.input_dim, dtype)
    features = encoder_features(seen, model.obs_dim, model.input_dim, 0)
    eyes = make_encoder(encoder, features, width, hidden=(width,), cell=cell, dtype=dtype)
    # the product has z_{t-1} by way of the prior
    reads = () if posterior == "product" else ("z",)
    q = make_posterior(
        posterior, model.latent.size, eyes.width, reads=reads, hidden=(width,), dtype=dtype
    )
    return NeuralGuide(seen, inputs_seen, eyes, q)
