"""The place in a model where one parameter lives: what is held, what is learned, what is tied."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from statespace.errors import InputError, expected
from statespace.parameters.declare import Declaration, Fixed, Param, Varying
from statespace.parameters.pattern import Pattern, held_pattern, pattern_of
from statespace.parameters.priors import InverseWishart, Normal
from statespace.parameters.read import read_value

__all__ = ["Slot"]


class Slot(nn.Module):
    """value = held + the learned numbers `theta`, each put (with its sign) where it is read.

    Shapes: value (*batch, [T,] *event), theta (*batch, [T,] n_free). A value that is wholly held
    is the very tensor that was given, with its graph. `theta` is None until there are start
    values; nothing else is ever replaced, so an optimiser can hold on to it.

    Args:
        name: Of the parameter, for sentences and for `names()`.
        event: Shape of one value.
        axes: A word for each axis of it.
        declaration: What the user said; bare values are wrapped by `declared` first.
        dtype, device: Of the model.
    """

    held: Tensor
    theta: nn.Parameter | None
    _index: Tensor
    _sign: Tensor

    def __init__(
        self,
        name: str,
        event: Sequence[int],
        axes: Sequence[str],
        declaration: Declaration,
        *,
        dtype: torch.dtype,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        self.name, self.event, self.axes = name, tuple(event), tuple(axes)
        self.varies = isinstance(declaration, Varying)
        inner = declaration.value if isinstance(declaration, Varying) else declaration
        param = inner if isinstance(inner, Param) else None
        raw = inner.value if isinstance(inner, Param | Fixed) else inner
        self.prior: Normal | InverseWishart | None = param.prior if param else None
        self.pattern = self._pattern(param)
        if self.varies and raw is None:
            raise InputError(
                expected(name, "values in Varying", "none", "Give T rows of start values.")
            )
        start = None if raw is None else self._read(raw, dtype, device)
        held = self._held(param, start, dtype, device)
        self.register_buffer("held", held)
        self.register_buffer("_index", self.pattern.index.to(held.device), persistent=False)
        self.register_buffer("_sign", self.pattern.sign.to(held), persistent=False)
        self.register_parameter("theta", None)
        self._check_prior()
        self._settle()
        if param is not None and start is not None:
            if param.start and self.n_free:
                self.set_(start)
            self._check_obeys(start)

    # ------------------------------------------------------------------ building

    def _pattern(self, param: Param | None) -> Pattern:
        return (
            held_pattern(self.event) if param is None else pattern_of(self.name, param, self.event)
        )

    def _read(self, raw: Any, dtype: torch.dtype, device: torch.device | None) -> Tensor:
        return read_value(
            self.name, raw, self.event, self.axes, dtype=dtype, device=device, varies=self.varies
        )

    def _held(
        self,
        param: Param | None,
        start: Tensor | None,
        dtype: torch.dtype,
        device: torch.device | None,
    ) -> Tensor:
        """The held part: as given where nothing is learned, zero at learned entries."""
        if param is None:
            assert start is not None
            return start
        if param.structure == "identity":
            return torch.eye(self.event[0], dtype=dtype, device=device)
        if start is None:
            return torch.zeros(self.event, dtype=dtype, device=device)
        free = self.pattern.free.to(start.device)
        if bool(free.all()):
            return start.new_zeros(start.shape[start.dim() - len(self.event) - self.varies :])
        if param.structure in ("diag", "scalar"):
            eye = torch.eye(self.event[0], dtype=torch.bool, device=start.device)
            free = free | ~eye  # `_check_obeys` and `start` compare with zero there
        return torch.where(free, torch.zeros_like(start), start).detach().clone()

    def _settle(self) -> None:
        """A place for subclasses to prepare what depends on the held part."""

    def _check_prior(self) -> None:
        if isinstance(self.prior, InverseWishart):
            raise InputError(
                expected(
                    self.name,
                    "a Normal prior on a coefficient",
                    "an InverseWishart",
                    "Use statespace.parameters.Normal.",
                )
            )

    def _check_obeys(self, start: Tensor) -> None:
        """A start value that its own structure or ties cannot take is refused, not projected."""
        gap = ((self.value() if self.is_set else self.held) - start).detach().abs()
        if not self.is_set:
            gap = torch.where(self.pattern.free.to(gap.device), torch.zeros_like(gap), gap)
        if start.numel() == 0:
            return
        allowed = 1e4 * torch.finfo(start.dtype).eps * start.detach().abs().max()
        if bool((gap > allowed).any()):
            raise InputError(
                expected(
                    self.name,
                    "a value that obeys its own structure and ties",
                    f"one that is off by up to {float(gap.max()):.3g}",
                    "Make tied entries equal (or opposite), and what the structure rules out zero.",
                )
            )

    # ------------------------------------------------------------------ reading

    @property
    def n_free(self) -> int:
        """Learned numbers (per row where it varies)."""
        return self.pattern.n_free

    @property
    def is_set(self) -> bool:
        """Whether there is a value."""
        return self.n_free == 0 or self.theta is not None

    @property
    def reads_held(self) -> bool:
        """Whether the value hangs on `held`."""
        return self.n_free == 0 or not self.pattern.plain

    @property
    def num_rows(self) -> int | None:
        """T where it varies, else None."""
        return self.held.shape[-len(self.event) - 1] if self.varies else None

    @property
    def batch_shape(self) -> torch.Size:
        """Leading axes: one model each."""
        held = self.held.shape[: self.held.dim() - len(self.event) - self.varies]
        if self.theta is None:
            return held
        own = self.theta.shape[: self.theta.dim() - 1 - self.varies]
        return own if held == own or not held else torch.broadcast_shapes(held, own)

    def _learned(self) -> nn.Parameter:
        if self.theta is None:
            raise InputError(
                expected(self.name, "a value", "none yet", f"Call fit first, or give {self.name}=.")
            )
        return self.theta

    def _spread(self, theta: Tensor) -> Tensor:
        """The learned numbers where they are read, zero elsewhere, (*, *event)."""
        if not self.pattern.plain:
            padded = torch.cat([theta, theta.new_zeros(*theta.shape[:-1], 1)], -1)
            theta = padded[..., self._index] * self._sign
        return theta.reshape(*theta.shape[:-1], *self.event)

    def value(self) -> Tensor:
        """The parameter, (*batch, [T,] *event), with gradients to what is learned or was given."""
        if self.n_free == 0:
            return self.held
        spread = self._spread(self._learned())
        return spread if self.pattern.plain else self.held + spread

    def pull(self, theta: Tensor, gradient: Tensor) -> Tensor:
        """The gradient in `theta`, from the gradient in the value that `theta` gives.

        Args:
            theta: (*batch, [T,] n_free).
            gradient: (*batch, [T,] *event), with more batch axes if the value was broadcast.

        Returns:
            What autograd gives, in the shape of `theta`, without its overhead.
        """
        flat = gradient.flatten(-len(self.event))
        if not self.pattern.plain:
            sums = flat.new_zeros(*flat.shape[:-1], self.n_free + 1)  # the last: what is held
            flat = sums.index_add_(-1, self._index, flat * self._sign)[..., : self.n_free]
        return flat if flat.shape == theta.shape else flat.sum_to_size(theta.shape)

    def entries(self) -> Tensor:
        """The value at the entries that `names` names, (*batch, [T,] n_free)."""
        first = self.pattern.first.to(self.held.device)
        return self.value().flatten(-len(self.event))[..., first]

    def basis(self) -> tuple[Tensor, Tensor]:
        """(base, M) with vec(value) = base + M entries(), row by row of the matrix.

        Shapes (*batch, [T,] size), (size, n_free).
        """
        return self.held.flatten(-len(self.event)), self.pattern.matrix(self.held)

    def names(self) -> list[str]:
        """One name for each learned number, after the first entry that reads it: "A[0,1]".

        Where it varies, with the row in front: "A[t=3][0,1]".
        """
        names = []
        for flat in self.pattern.first.tolist():
            place = []
            for size in reversed(self.event):
                place.append(flat % size)
                flat //= size
            names.append(",".join(map(str, reversed(place))))
        if self.num_rows is None:
            return [f"{self.name}[{n}]" for n in names]
        return [f"{self.name}[t={t}][{n}]" for t in range(self.num_rows) for n in names]

    def log_prior(self) -> Tensor:
        """Log density of the prior on what is learned, (*batch,); zero without one."""
        if not isinstance(self.prior, Normal):
            return self.held.new_zeros(self.batch_shape)
        first = torch.zeros(self.pattern.index.numel(), dtype=torch.bool)
        first[self.pattern.first] = True
        log = self.prior.log_prob(self.value(), first.view(self.event).to(self.held.device))
        return log.sum(-1) if self.varies else log

    def declaration(self) -> Declaration:
        """What would build this slot again (values detached, but for a wholly held one)."""
        if self.n_free == 0:
            return Varying(self.held) if self.varies else Fixed(self.held)
        value = self.value().detach().clone() if self.is_set else self.held
        labels = self.pattern.labels
        param = Param(value, free=labels != 0, labels=labels, prior=self.prior, start=self.is_set)
        return Varying(param) if self.varies else param

    # ------------------------------------------------------------------ writing

    @torch.no_grad()
    def set_(self, value: Any) -> None:
        """Takes over a value: held entries stay, tied entries take the mean of theirs.

        In place; the parameter is replaced only where the batch shape changes.

        Raises:
            InputError: as at construction (shape, finiteness).
        """
        new = self._project(self._read(value, self.held.dtype, self.held.device))
        if self.n_free == 0:
            return
        self._put(new)

    @torch.no_grad()
    def take_(self, value: Tensor) -> None:
        """As `set_`, from what is known to be in order: of the shape, the dtype and the device."""
        self._put(self._project(value))

    def _put(self, theta: Tensor) -> None:
        if self.theta is not None and self.theta.shape == theta.shape:
            self.theta.copy_(theta)
        else:
            self.theta = nn.Parameter(theta.detach().clone())

    def _project(self, value: Tensor) -> Tensor:
        """The learned numbers nearest to a value: means over ties."""
        flat = value.flatten(-len(self.event))
        if self.pattern.plain:
            return flat
        sums = flat.new_zeros(*flat.shape[:-1], self.n_free + 1)
        sums.index_add_(-1, self._index, flat * self._sign)
        return sums[..., : self.n_free] / self.pattern.count.to(flat)

    def adopt(self, held: Tensor, theta: Tensor | None) -> None:
        """Takes over stored tensors as they are, bit for bit."""
        self.held = held.to(self.held.device)
        self.theta = None if theta is None else nn.Parameter(theta.to(self.held.device))
        self._settle()

    def __deepcopy__(self, memo: dict[int, Any]) -> Slot:
        # What was given with a graph is shared: it belongs to the giver, and torch cannot copy it.
        if self.held.requires_grad:
            memo[id(self.held)] = self.held
        new = self.__class__.__new__(self.__class__)
        memo[id(self)] = new
        for key, item in self.__dict__.items():
            new.__dict__[key] = copy.deepcopy(item, memo)
        return new

    def extra_repr(self) -> str:
        state = "" if self.is_set else ", not set"
        time = f", T={self.num_rows}" if self.varies else ""
        return f"{self.name}, shape={self.event}, learned={self.n_free}{time}{state}"
