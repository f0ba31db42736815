"""What deep models share: the parts they are made of, and the methods they choose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Size, Tensor

from statespace.errors import InputError, expected
from statespace.inference import FIVO, ImportanceWeighted, Variational
from statespace.interface import Amortised, Context, Filter, Real
from statespace.learning import Gradient
from statespace.models.shared.networks import NetworkModel, check_counts
from statespace.models.shared.slots import check_dtype, check_sizes
from statespace.nn import (
    POSTERIORS,
    GaussianNet,
    NeuralGuide,
    Numbers,
    Tokens,
    emission_head,
    encoder,
    encoder_features,
    posterior,
    reader_of,
    recurrent,
)
from statespace.sequences import Sequences
from statespace.shapes import join

__all__ = ["DeepModel", "given"]


def given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a constructor, from its `locals()`."""
    return {k: v for k, v in arguments.items() if k not in ("self", "__class__", "seed")}


class DeepModel(NetworkModel, Amortised):
    """A model of networks, with a guide.

    `log_likelihood` is that of `FIVO(64)` where the guide is causal, and of
    `ImportanceWeighted(64)` where it sees the future; `fit` climbs the evidence lower bound.
    `filter`, `forecast` and `step` go by particles, from the guide where it is causal and from the
    prior elsewhere; `smooth` weighs paths of the guide.
    """

    usual_encoder: ClassVar[str]
    usual_posterior: ClassVar[str]
    usual_cell: ClassVar[str] = ""  # where the model has no choice of one

    # ------------------------------------------------------------------ making one

    def _open(self, settings: dict[str, Any]) -> None:
        """Checks and keeps the constructor's arguments."""
        s = settings
        check_sizes(s["latent_dim"], s["obs_dim"], s["input_dim"])
        check_dtype(s["dtype"])
        check_counts(
            latent_dim=s["latent_dim"], hidden_dim=s["hidden_dim"], layers=s.get("layers", 1)
        )
        if s["posterior"] is not None and s["posterior"] not in POSTERIORS:
            wanted = "one of " + ", ".join(f'"{word}"' for word in POSTERIORS)
            todo = "Choose one of them."
            raise InputError(expected("posterior", wanted, repr(s["posterior"]), todo))
        self._remember(**settings)
        self.latent = Real(s["latent_dim"])
        self.obs_dim, self.input_dim = s["obs_dim"], s["input_dim"]
        self.categorical = s["num_categories"] is not None
        self.seen, self.inputs_seen = self._readers()

    def _readers(self) -> tuple[Numbers | Tokens, Numbers]:
        """What a network sees of y and of u; the guide has its own."""
        s = self.settings
        size = s["num_categories"]
        width = s["embedding_dim"] or min(size or self.obs_dim, s["hidden_dim"])
        seen = reader_of(self.obs_dim, size, width, s["dtype"])
        return seen, Numbers(self.input_dim, s["dtype"])

    def _path(self, features: int) -> Any:
        s = self.settings
        return recurrent(
            features,
            s["hidden_dim"],
            self.usual_cell or s["cell"],
            layers=s["layers"],
            condition_dim=s["condition_dim"],
            dtype=s["dtype"],
        )

    def _prior(self, features: int) -> GaussianNet:
        s = self.settings
        return GaussianNet(features, s["latent_dim"], (s["hidden_dim"],), dtype=s["dtype"])

    def _head(self, features: int) -> Any:
        s = self.settings
        return emission_head(
            s["family"],
            features,
            self.obs_dim,
            hidden=(s["hidden_dim"],),
            num_categories=s["num_categories"],
            num_components=s["num_components"],
            min_scale=s["min_scale"],
            dtype=s["dtype"],
        )

    def _guide(
        self, reads: Iterable[str], *, memory: int = 0, encodes: bool = False
    ) -> NeuralGuide:
        """The guide: what its posterior reads besides e, of a memory so wide."""
        s = self.settings
        seen, inputs_seen = self._readers()
        features = encoder_features(seen, self.obs_dim, self.input_dim, memory * encodes)
        width, dtype = s["hidden_dim"], s["dtype"]
        eyes = encoder(
            s["encoder"] or self.usual_encoder,
            features,
            width,
            hidden=(width,),
            cell=self.usual_cell or s["cell"],
            dtype=dtype,
        )
        q = posterior(
            s["posterior"] or self.usual_posterior,
            s["latent_dim"],
            eyes.width,
            memory,
            reads=reads,
            hidden=(width,),
            dtype=dtype,
        )
        return NeuralGuide(seen, inputs_seen, eyes, q, encodes_memory=encodes)

    # ------------------------------------------------------------------ the contract

    def origin(self, batch_shape: Size) -> tuple[Tensor, Tensor]:
        """z_0 = 0; y_0 is what the networks see as zero, or the start symbol."""
        z, _ = super().origin(batch_shape)
        return z, self.seen.origin(batch_shape)

    def feed(self, z: Any, y: Any, ctx: Context) -> Tensor:
        """x_t: those of z, y and u that the memory reads, in the networks' units."""
        parts = [] if z is None else [z]
        if y is not None:
            parts.append(self.seen(y))
        return join(*parts, self.inputs_seen(ctx.u))

    def start_values(self, data: Sequences, generator: torch.Generator) -> None:
        """At the first fit: units of the data, for the guide too."""
        if not bool(self.begun):
            rows = data.active[..., None].expand(data.inputs.shape)
            self.guide.learn(data.values, data.observed, data.inputs, rows)  # type: ignore[operator]
        super().start_values(data, generator)

    def default_method(self) -> Filter:
        """FIVO with a causal guide, importance weighting with one that sees the future."""
        return FIVO(64) if self.guide.causal else ImportanceWeighted(64)

    def learning_method(self) -> Variational:
        """The evidence lower bound."""
        return Variational()

    def default_learner(self) -> Gradient:
        """Back-propagation through time."""
        return Gradient(steps=1000, lr=3e-3, clip=1.0)
