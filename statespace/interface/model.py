"""The contract: three densities and, where something is remembered, a memory."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Size, Tensor, nn
from torch.distributions import Distribution

from statespace.beliefs import Space, Tree, zeros
from statespace.errors import StorageError
from statespace.interface.arguments import Checked, is_verb
from statespace.interface.paths import NoPath, Path
from statespace.interface.values import Context
from statespace.interface.verbs import Verbs
from statespace.sequences import Sequences

if TYPE_CHECKING:
    from statespace.interface.methods import Learner, Method

__all__ = ["StateSpaceModel"]


class _Model(Checked):
    """A class whose objects are looked at once when they are made."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Makes one and checks what it says about itself."""
        made = super().__call__(*args, **kwargs)
        _check_declarations(made)
        return made


class StateSpaceModel(Verbs, nn.Module, metaclass=_Model):
    """p(z, y | u) = prod_t p(z_t | z_{t-1}, h, u_t) p(y_t | z_t, h_t, u_t).

        h_t = path(h_{t-1}, x_t)
        order "h then z":  x_t = feed(z_{t-1}, y_{t-1}, u_t),  z_t sees h_t
        order "z then h":  x_t = feed(z_t, y_{t-1}, u_t),      z_t sees h_{t-1}

    One rule of shape carries everything: a density is batched over whatever axes stand left of
    its event, (*sample, *batch[, T]). A method asks about many points by putting them in
    `sample`, and about all of time by letting T be the last batch axis. Features are combined
    with `statespace.shapes.join`, which broadcasts leading axes.

    A subclass sets the attributes in its constructor, defines the three densities (and `feed`
    where it has a memory) and its default method and learner. The verbs are final.

    Attributes:
        latent: What z is.
        obs_dim: m; y has the event shape (m,), always.
        input_dim: p, zero where there are no inputs.
        path: The memory; `NoPath()` where nothing is remembered.
        reads: What `feed` looks at, of {"z", "y", "u"}. Without "z" the memory runs ahead over
            all of time. Empty exactly where there is no memory.
        order: "h then z", or "z then h" where the memory reads z_t before y_t is emitted.
        categorical: y holds categories, int64.
        batch_shape: The leading axes of the parameters (one model per series); () as a rule.

    Example:
        >>> import torch
        >>> import statespace as ss
        >>> from statespace.interface import Real
        >>> from torch.distributions import Independent, Normal, Poisson
        >>> class Counts(ss.StateSpaceModel):
        ...     # z_t = z_{t-1} + 0.1 w_t,  y_t ~ Poisson(exp z_t)
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.latent, self.obs_dim = Real(1), 1
        ...         self.register_buffer("spread", torch.full((1,), 0.1, dtype=torch.float64))
        ...     def initial(self, ctx):
        ...         return Independent(Normal(0 * self.spread, self.spread), 1)
        ...     def transition(self, z, ctx):
        ...         return Independent(Normal(z, self.spread), 1)
        ...     def emission(self, z, ctx):
        ...         return Independent(Poisson(z.exp()), 1)
        ...     def default_method(self):
        ...         return ss.ParticleFilter(100)
        ...     def default_learner(self):
        ...         return ss.Gradient(steps=10, lr=0.01)
        >>> Counts().filter([2.0, 0.0, 1.0], seed=0).mean.shape
        torch.Size([3, 1])
    """

    latent: Space
    obs_dim: int
    input_dim: int
    path: Path
    reads: frozenset[str] = frozenset()
    order: str = "h then z"
    categorical: bool = False
    references: tuple[str, ...] = ()  # BibTeX entries of its sources, for `citation`

    def __init__(self) -> None:
        super().__init__()
        self.path = NoPath()
        self.input_dim = 0

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        final = [name for name in cls.__dict__ if is_verb(Verbs.__dict__.get(name))]
        if final:
            raise TypeError(
                f"{cls.__name__} overrides {final[0]}(), which is final: a verb is written once "
                "for all models. Change the densities, or write a Method."
            )

    @abstractmethod
    def initial(self, ctx: Context) -> Distribution:
        """p(z_1 | h, u_1). May have fewer batch axes than asked for: the caller expands it."""

    @abstractmethod
    def transition(self, z: Tree, ctx: Context) -> Distribution:
        """p(z_t | z_{t-1} = z, h, u_t)."""

    @abstractmethod
    def emission(self, z: Tree, ctx: Context) -> Distribution:
        """p(y_t | z_t = z, h_t, u_t), event (m,)."""

    def feed(self, z: Tree, y: Any, ctx: Context) -> Tensor:
        """x_t, the input of the memory, (*, f); asked only of models with a memory.

        What `reads` does not name is None here. `ctx.h` is zero wide: the memory adds itself.
        """
        raise NotImplementedError(f"{type(self).__name__} has a memory and defines no feed()")

    def origin(self, batch_shape: Size) -> tuple[Tree, Tensor]:
        """z_0 and y_0, which the memory reads at the first row: zeros, unless overridden."""
        z = zeros(self.latent, batch_shape, self.dtype, self.device)
        kept = torch.int64 if self.categorical else self.dtype
        return z, torch.zeros((*batch_shape, self.obs_dim), dtype=kept, device=self.device)

    @abstractmethod
    def default_method(self) -> Method:
        """The method that the verbs use where none is given."""

    def learning_method(self) -> Method:
        """The method whose objective `fit` climbs where none is given: the default one."""
        return self.default_method()

    @abstractmethod
    def default_learner(self) -> Learner:
        """The learner that `fit` uses where none is given."""

    def start_values(self, data: Sequences, generator: Generator) -> None:
        """Sets the parameters that have no value yet, from the data, in their scale.

        Called once, when a fit begins; nothing by default.
        """

    def check_values(self, y: Tensor, observed: Tensor, name: str = "y") -> None:
        """Refuses observations that the emission cannot give (a count of -1); nothing by default.

        Args:
            y: (*, m), a harmless number where not observed.
            observed: (*, m).
            name: What y is called where it was given.
        """

    @property
    def ready(self) -> bool:
        """Whether every parameter has a value; without, the model can only be fitted."""
        return True

    @property
    def batch_shape(self) -> Size:
        """The leading axes of the parameters; () as a rule."""
        return Size()

    @property
    def dtype(self) -> torch.dtype:
        """Of the first floating-point parameter or buffer; float64 where there is none."""
        return next((x.dtype for x in self._numbers() if x.is_floating_point()), torch.float64)

    @property
    def device(self) -> torch.device:
        """Of the first parameter or buffer; the CPU where there is none."""
        return next((x.device for x in self._numbers()), torch.device("cpu"))

    @property
    def num_params(self) -> int:
        """How many numbers are learned."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    @property
    def num_idle(self) -> int:
        """How many numbers of all models of a batch are learned and act on nothing.

        A fit does not count them.
        """
        return 0

    def _describe(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What `save` stores: what JSON can hold, and tensors by name.

        Raises:
            StorageError: the class does not say how it is stored.
        """
        raise StorageError(_unstored(type(self)))

    @classmethod
    def _restore(cls, *args: Any, **functions: Any) -> StateSpaceModel:
        """The model that `_describe` described: (record, tensors, **functions).

        Raises:
            StorageError: the class does not say how it is stored.
        """
        raise StorageError(_unstored(cls))

    def _numbers(self) -> Any:
        yield from self.parameters()
        yield from self.buffers()


def _unstored(cls: type) -> str:
    return (
        f"{cls.__name__} does not say how it is stored. Define _describe() and _restore(), or "
        "keep its state_dict()."
    )


def _check_declarations(model: StateSpaceModel) -> None:
    """A contract that contradicts itself is found when the model is made, not in the middle."""
    name = type(model).__name__
    for word in ("latent", "obs_dim", "input_dim", "path"):
        try:
            getattr(model, word)
        except AttributeError:
            raise TypeError(f"{name} does not set `{word}` in its constructor") from None
    unknown = set(model.reads) - {"z", "y", "u"}
    if unknown:
        raise TypeError(f"{name}.reads holds {unknown}; it may hold 'z', 'y' and 'u'")
    if model.order not in ("h then z", "z then h"):
        raise TypeError(f"{name}.order is {model.order!r}; it is 'h then z' or 'z then h'")
    if bool(model.reads) == isinstance(model.path, NoPath):
        raise TypeError(f"{name} has a memory exactly if `reads` is not empty: set both or none")
    if model.reads and type(model).feed is StateSpaceModel.feed:
        raise TypeError(f"{name} has a memory and defines no feed()")
