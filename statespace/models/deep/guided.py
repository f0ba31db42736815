"""Any model, with a guide beside it."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Generator, Size, Tensor
from torch.distributions import Distribution

from statespace.beliefs import Tree
from statespace.errors import InputError, InputTypeError, StateSpaceError, StorageError, expected
from statespace.files import lookup, name_of, register
from statespace.inference import FIVO, ImportanceWeighted, Variational
from statespace.interface import Amortised, Context, Filter, Guide, StateSpaceModel
from statespace.learning import Gradient
from statespace.models.shared.networks import check_counts, drawn_from
from statespace.models.shared.record import unfit
from statespace.nn import NeuralGuide, neural_guide
from statespace.sequences import Sequences

__all__ = ["Guided"]


@register("Guided")
class Guided(Amortised):
    """A model and a guide: the same three densities, smoothed and learned by what networks see.

        p(z, y) as the model says,    q(z_t | z_{t-1}, e_t),  e = encoder(y, what is missing, u)

    `fit` climbs the evidence lower bound in all that is learned, of the model and of the guide. A
    model of which nothing is learned, or whose `requires_grad_(False)` was called, is left as it
    is, and only q is learned: a smoother for many series, paid for once. Whatever else serves the
    model still serves it under `.model`.

    Args:
        model: Any model whose state is made of vectors.
        guide: A guide of your own; a neural one is made if None.
        hidden_dim: Of the neural guide, the width of e and of what lies between.
        encoder: Of the neural guide: "pointwise", "causal", "anticausal" or "both".
        posterior: Its head: "product", "residual", "mlp" or "combiner". With "product" it is the
            model's own transition times a Gaussian in z_t, which in a linear-Gaussian model is
            the form of the exact posterior.
        cell: Of the encoder.
        seed: Of the guide's start weights.

    Raises:
        InputTypeError: `model` is no model, or `guide` no guide.
        InputError: neither a guide nor `hidden_dim`, or both; a state that is no vector.

    Example:
        >>> import statespace as ss
        >>> level = ss.LDS(1, 1, A=[[1.0]], C=[[0.5]], Q=[[10.0]], R=[[20.0]],
        ...                initial_mean=[0.0], initial_cov=[[10.0]])
        >>> guided = Guided(level, hidden_dim=8, seed=0)
        >>> y = level.sample(10, (4,), seed=0).y
        >>> fit = guided.fit(y, learner=ss.Gradient(20, lr=1e-2), seed=0)
        >>> guided.score(y, seed=0).kind, level.score(y).kind
        ('lower bound', 'exact')

    Source: Krishnan, Shalit and Sontag (2017), "Structured inference networks for nonlinear state
    space models".
    """

    model: StateSpaceModel
    guide: Guide
    begun: Tensor

    def __init__(
        self,
        model: StateSpaceModel,
        guide: Guide | None = None,
        *,
        hidden_dim: int | None = None,
        encoder: str = "both",
        posterior: str = "product",
        cell: str = "gru",
        seed: int | None = None,
    ) -> None:
        super().__init__()
        _check(model, guide, hidden_dim)
        self.model = model
        words = {"encoder": encoder, "posterior": posterior, "cell": cell}
        self.settings: dict[str, Any] = {"hidden_dim": hidden_dim, **words}
        self.register_buffer("begun", torch.tensor(guide is not None))
        if hidden_dim is not None:
            with drawn_from(seed):
                guide = neural_guide(model, hidden_dim, **words)
        assert guide is not None
        self.guide = guide
        self.latent, self.obs_dim, self.input_dim = model.latent, model.obs_dim, model.input_dim
        self.path, self.reads, self.order = model.path, model.reads, model.order
        self.categorical = model.categorical

    @property
    def dtype(self) -> torch.dtype:
        """Of the model."""
        return self.model.dtype

    @property
    def batch_shape(self) -> Size:
        """Of the model."""
        return self.model.batch_shape

    @property
    def ready(self) -> bool:
        """Whether the model is."""
        return self.model.ready

    @property
    def num_params(self) -> int:
        """Numbers that are learned, of the model and of the guide."""
        moves = any(p.requires_grad for p in self.model.parameters())
        own = sum(p.numel() for p in self.guide.parameters() if p.requires_grad)
        return own + (self.model.num_params if moves else 0)

    @property
    def num_idle(self) -> int:
        """Of the model."""
        return self.model.num_idle

    # ------------------------------------------------------------------ the contract

    def initial(self, ctx: Context) -> Distribution:
        """p(z_1), of the model."""
        return self.model.initial(ctx)

    def transition(self, z: Tree, ctx: Context) -> Distribution:
        """p(z_t | z_{t-1}), of the model."""
        return self.model.transition(z, ctx)

    def emission(self, z: Tree, ctx: Context) -> Distribution:
        """p(y_t | z_t), of the model."""
        return self.model.emission(z, ctx)

    def feed(self, z: Tree, y: Any, ctx: Context) -> Tensor:
        """What its memory reads."""
        return self.model.feed(z, y, ctx)

    def origin(self, batch_shape: Size) -> tuple[Tree, Tensor]:
        """What its memory reads at the first row."""
        return self.model.origin(batch_shape)

    def check_values(self, y: Tensor, observed: Tensor, name: str = "y") -> None:
        """What it refuses."""
        self.model.check_values(y, observed, name)

    def start_values(self, data: Sequences, generator: Generator) -> None:
        """Those of the model; a neural guide takes the units of the data, once."""
        self.model.start_values(data, generator)
        if not bool(self.begun) and isinstance(self.guide, NeuralGuide):
            rows = data.active[..., None].expand(data.inputs.shape)
            self.guide.learn(data.values, data.observed, data.inputs, rows)
            self.begun.fill_(True)

    def default_method(self) -> Filter:
        """FIVO with a causal guide, importance weighting with one that sees the future."""
        return FIVO(64) if self.guide.causal else ImportanceWeighted(64)

    def learning_method(self) -> Variational:
        """The evidence lower bound."""
        return Variational()

    def default_learner(self) -> Gradient:
        """Back-propagation through time."""
        return Gradient(steps=1000, lr=1e-2, schedule="cosine", clip=1.0)

    # ------------------------------------------------------------------ storage

    def _describe(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        inner, tensors = self.model._describe()
        own = (
            [] if isinstance(self.guide, NeuralGuide) and self.settings["hidden_dim"] else ["guide"]
        )
        inner = {**inner, "model": name_of(type(self.model))}
        record = {
            "settings": self.settings,
            "begun": bool(self.begun),
            "inside": inner,
            "functions": [*inner.get("functions", ()), *own],
            "held": [name for name, p in self.named_parameters() if not p.requires_grad],
        }
        weights = {f"guide.{k}": v for k, v in self.guide.state_dict().items()}
        return record, {**{f"model.{k}": v for k, v in tensors.items()}, **weights}

    @classmethod
    def _restore(cls, record: dict[str, Any], tensors: dict[str, Tensor], **functions: Any) -> Self:
        def below(name: str) -> dict[str, Tensor]:
            start = f"{name}."
            return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}

        try:
            guide, inside = functions.pop("guide", None), record["inside"]
            kind: Any = lookup(inside["model"])
            model = kind._restore(inside, below("model"), **functions)
            made = cls(model, guide, **record["settings"])
            made.guide.load_state_dict(below("guide"))
            made.begun.fill_(record["begun"])
            for name, p in made.named_parameters():
                p.requires_grad_(name not in record["held"])
        except (KeyError, RuntimeError, TypeError, StateSpaceError) as error:
            if isinstance(error, StorageError):
                raise
            raise unfit(cls.__name__, str(error)) from error
        return made

    def extra_repr(self) -> str:
        return f"learned={self.num_params}"


def _check(model: Any, guide: Any, hidden_dim: int | None) -> None:
    if not isinstance(model, StateSpaceModel):
        got = type(model).__name__
        raise InputTypeError(expected("model", "a model", got, "Give the model itself."))
    if guide is not None and not isinstance(guide, Guide):
        got, todo = type(guide).__name__, "Derive it from statespace.interface.Guide."
        raise InputTypeError(expected("guide", "a guide", got, todo))
    if (guide is None) == (hidden_dim is None):
        got = "both" if hidden_dim is not None else "neither"
        todo = "Give the one or the other."
        raise InputError(expected("guide, hidden_dim", "one of the two", got, todo))
    if hidden_dim is not None:
        check_counts(hidden_dim=hidden_dim)
