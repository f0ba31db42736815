"""What deep models share: the parts they are made of, and the methods they choose."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Size, Tensor

from statespace.inference import FIVO, ImportanceWeighted, Variational
from statespace.interface import Amortised, Context, Filter, Real
from statespace.learning import Gradient
from statespace.models.deep.options import defaults_of, spelled_out
from statespace.models.shared.networks import (
    NetworkModel,
    check_counts,
    check_word,
    drawn_from,
    widths,
)
from statespace.models.shared.slots import check_dtype, check_sizes
from statespace.nn import (
    CELLS,
    POSTERIORS,
    Beside,
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
from statespace.sequences import Sequences, read_count
from statespace.shapes import join

__all__ = ["DeepModel"]

_WIDTHS = ("transition_dim", "emission_dim", "posterior_dim")


class DeepModel(NetworkModel, Amortised):
    """A model of networks, with a guide.

    `log_likelihood` is that of `FIVO(64)` where the guide is causal, and of
    `ImportanceWeighted(64)` where it sees the future; `fit` climbs the evidence lower bound.
    `filter`, `forecast` and `step` go by particles, from the guide where it is causal and from the
    prior elsewhere; `smooth` weighs paths of the guide.

    A model passes `locals()` of its constructor to this one, and makes its parts in `_build`. Its
    own defaults of shared options are arguments of its class statement.

    Args:
        arguments: Those of the model's constructor, with its `options`.
    """

    _own: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(cls, **own: Any) -> None:
        super().__init_subclass__()
        cls._own = {**cls._own, **own}
        if "__init__" in cls.__dict__:
            spelled_out(cls, cls._own)

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        super().__init__()
        given = {k: v for k, v in arguments.items() if k not in ("self", "__class__", "options")}
        own = defaults_of(arguments["__class__"].__init__, self._own)
        settings = {**given, **own, **arguments["options"]}
        with drawn_from(settings.pop("seed")):
            s = self._open(settings)
            self.seen, self.inputs_seen = self._readers(s)
            self._build(s)

    @abstractmethod
    def _build(self, s: Any) -> None:
        """Makes prior, head, guide and perhaps a memory, from settings without gaps."""

    def _open(self, settings: dict[str, Any]) -> Any:
        """Checks and keeps the settings; without gaps, as attributes."""
        for name in _WIDTHS:
            settings[name] = widths(name, settings[name])
        skip = read_count(settings.get("skip", 0), name="skip", at_least=0)
        if "skip" in settings:
            settings["skip"] = skip
        s = SimpleNamespace(**{**settings, "skip": skip})
        check_sizes(s.latent_dim, s.obs_dim, s.input_dim)
        check_dtype(s.dtype)
        s.layers, s.cell = settings.get("layers", 1), settings.get("cell", "gru")
        s.encoder_dim = s.hidden_dim if s.encoder_dim is None else s.encoder_dim
        s.encoder_cell = s.encoder_cell or s.cell
        names = ("latent_dim", "hidden_dim", "layers", "encoder_dim", "encoder_layers")
        check_counts(**{name: getattr(s, name) for name in names})
        for name in _WIDTHS:
            setattr(s, name, (s.hidden_dim,) if settings[name] is None else settings[name])
        check_word("posterior", s.posterior, POSTERIORS)
        check_word("encoder_cell", s.encoder_cell, CELLS)
        check_word("encoder_activation", s.encoder_activation, ("tanh", "relu"))
        self._remember(**settings)
        self.latent = Real(s.latent_dim)
        self.obs_dim, self.input_dim = s.obs_dim, s.input_dim
        self.categorical = s.num_categories is not None
        return s

    # ------------------------------------------------------------------ parts

    def _readers(self, s: Any) -> tuple[Numbers | Tokens, Numbers]:
        """What a network sees of y and of u; the guide has its own."""
        width = s.embedding_dim or min(s.num_categories or s.obs_dim, s.hidden_dim)
        seen = reader_of(s.obs_dim, s.num_categories, width, s.dtype)
        return seen, Numbers(s.input_dim, s.dtype)

    def _path(self, s: Any, features: int, cell: str) -> Any:
        how = {"layers": s.layers, "condition_dim": s.condition_dim, "dtype": s.dtype}
        path = recurrent(features, s.hidden_dim, cell, **how)
        return Beside(path, s.skip) if s.skip else path

    def _prior(self, s: Any, features: int) -> GaussianNet:
        return GaussianNet(
            features,
            s.latent_dim,
            s.transition_dim,
            activation=s.activation,
            skip=s.skip > 0,
            dtype=s.dtype,
        )

    def _head(self, s: Any, features: int) -> Any:
        return emission_head(
            s.family,
            features,
            s.obs_dim,
            hidden=s.emission_dim,
            activation=s.activation,
            skip=s.skip > 0,
            num_categories=s.num_categories,
            num_components=s.num_components,
            min_scale=s.min_scale,
            dtype=s.dtype,
        )

    def _guide(
        self, s: Any, reads: Iterable[str], *, memory: int = 0, encodes: bool = False
    ) -> NeuralGuide:
        """The guide: what its posterior reads besides e, of a memory so wide."""
        seen, inputs_seen = self._readers(s)
        features = encoder_features(seen, s.obs_dim, s.input_dim, memory * encodes)
        eyes = encoder(
            s.encoder,
            features,
            s.encoder_dim,
            hidden=(s.encoder_dim,) * s.encoder_layers,
            cell=s.encoder_cell,
            layers=s.encoder_layers,
            activation=s.encoder_activation,
            dtype=s.dtype,
        )
        q = posterior(
            s.posterior,
            s.latent_dim,
            eyes.width + features * (s.skip > 0),
            memory,
            reads=reads,
            hidden=s.posterior_dim,
            activation=s.activation,
            skip=s.skip > 0,
            dtype=s.dtype,
        )
        how = {"encodes_memory": encodes, "dropout": s.dropout, "skip": s.skip > 0}
        return NeuralGuide(seen, inputs_seen, eyes, q, **how)

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
        return join(*parts, self.inputs_seen(ctx.u)) if "u" in self.reads else join(*parts)

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
