"""The arrays of a model, kept from call to call for as long as its numbers are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from numpy.typing import NDArray
from torch import Tensor

from statespace.errors import StateSpaceError
from statespace.files import lookup
from statespace.gaussian import Gaussian
from statespace.inference.kalman.problem import system_of
from statespace.inference.lineargaussian import Start, System, start
from statespace.inference.lineargaussian.compiled import is_dense
from statespace.inference.lineargaussian.layout import Layout
from statespace.kernels import Model
from statespace.linalg import Covariance
from statespace.parameters import CovarianceSlot, Slot
from statespace.parameters.entries import Entries

__all__ = ["Arrays", "Kept", "kept_of", "plain", "same", "watch"]

NAMES = ("A", "b", "C", "d", "Q", "R", "initial_mean", "initial_cov")


class Watched(NamedTuple):
    """A tensor of a slot, and the numbers it held.

    The numbers are compared themselves: `.data` and fused optimisers change them without counting
    a version.
    """

    parameter: str  # "A"
    slot: Slot
    place: dict[str, Any]  # where the slot has it
    name: str  # "theta" or "held"
    tensor: Tensor
    pointer: int
    shape: torch.Size
    view: NDArray[Any]  # the memory of the tensor; read only while `pointer` is the tensor's
    numbers: bytes


class Arrays(NamedTuple):
    """What the loops are handed; nothing of it is the model's own memory."""

    system: System
    begin: Start
    model: Model
    noise: NDArray[Any]  # Q, (1, 1, n, n)
    dtype: torch.dtype


@dataclass(frozen=True, eq=False, slots=True)
class Kept:
    """What was computed from the slots of one model, and how to see that it still holds.

    Attributes:
        slots: All of them, in order.
        kinds: How the states start.
        attributes: How many the model had: one more may be a function in the place of a method.
        watched: Every tensor the arrays were made from.
    """

    slots: list[Slot]
    kinds: tuple[str, ...]
    attributes: int
    watched: tuple[Watched, ...]
    arrays: Arrays
    _pulls: list[dict[str, Entries]]

    def pulls(self) -> dict[str, Entries]:
        """The slots with a `theta`, at the numbers of the arrays."""
        if not self._pulls:
            found = {w.parameter: Entries(w.slot) for w in self.watched if w.name == "theta"}
            for entries in found.values():
                entries.write()
            self._pulls.append(found)
        return self._pulls[0]

    def holds(self, model: Any) -> bool:
        """Whether the model is as it was."""
        own = model.__dict__
        if len(own) != self.attributes or own.get("kinds") is not self.kinds:
            return False
        return list(own["_modules"]["slots"]._modules.values()) == self.slots and same(self.watched)

    def learned(self) -> bool | None:
        """Whether a gradient is wanted in `theta` alone; None where it is in something else too.

        A held value may carry a graph, and a stationary start hangs on A and Q.
        """
        wanted = False
        for w in self.watched:
            if w.tensor.requires_grad:
                if w.name == "held" or "stationary" in self.kinds:
                    return None
                wanted = True
        return wanted


def same(watched: Sequence[Watched]) -> bool:
    """Whether the tensors are those that were watched, and hold the same numbers."""
    for _, _, place, name, tensor, pointer, shape, view, numbers in watched:
        if (
            place.get(name) is not tensor
            or tensor.data_ptr() != pointer
            or tensor.shape != shape
            or not tensor.is_contiguous()
            or view.tobytes() != numbers
        ):
            return False
    return True


# By model and not on it: nothing of this is copied, pickled or stored with a model. An entry is
# never changed, only replaced, so that threads see a whole one.
_KEPT: WeakKeyDictionary[Any, Kept] = WeakKeyDictionary()


def kept_of(model: Any) -> Kept | None:
    """The arrays of a model, or None where it is not one whose slots say everything.

    That is an LDS itself and no subclass, of one set of parameters that do not vary in time, all of
    them set, without inputs, on the CPU.
    """
    kept = _KEPT.get(model)
    if kept is not None and kept.holds(model):
        return kept
    try:
        kept = _keep(model)
    except (StateSpaceError, RuntimeError, TypeError):  # the long way meets it again and names it
        return None
    if kept is not None:
        _KEPT[model] = kept
    return kept


def _keep(model: Any) -> Kept | None:
    if not plain(model):
        return None
    slots = [slot for _, slot in model._slots()]
    if not all(map(_serves, slots)) or torch.is_autocast_enabled("cpu"):
        return None
    watched = tuple(w for name in NAMES for w in watch(name, model.slot(name)))
    kinds, attributes = model.kinds, len(vars(model))
    with torch.inference_mode(False), torch.no_grad():  # they may serve outside later
        kept = Kept(slots, kinds, attributes, watched, _arrays(model), [])
    return kept if kept.holds(model) else None  # another thread may have changed it meanwhile


def plain(model: Any) -> bool:
    """Whether its densities are those of the class, and hang on nothing but slots and kinds."""
    kind: type = type(model)
    if kind is not lookup("LDS") or model.input_dim:
        return False
    hidden = [name for name in vars(model) if callable(getattr(kind, name, None))]
    return not hidden and model.latent_dim > 0


def _serves(slot: Slot) -> bool:
    """One set of values that do not vary in time, on the CPU."""
    plain = type(slot) in (Slot, CovarianceSlot) and slot.is_set and not slot.varies
    return plain and slot.batch_shape == () and slot.held.device.type == "cpu"


def watch(parameter: str, slot: Slot) -> list[Watched]:
    """The tensors that the value of a slot is read from."""
    found = []
    for name, place in (("held", slot._buffers), ("theta", slot._parameters)):
        tensor = place[name]
        if tensor is None or (name == "held" and not slot.reads_held):
            continue
        if not tensor.is_contiguous():
            raise TypeError("the memory of a kept tensor is read in order")
        view, pointer = tensor.detach().numpy(), tensor.data_ptr()
        numbers = view.tobytes()
        found.append(
            Watched(parameter, slot, place, name, tensor, pointer, tensor.shape, view, numbers)
        )
    return found


def _arrays(model: Any) -> Arrays:
    """Everything the loops read, in memory of its own."""
    system = _cloned(system_of(model, torch.zeros(1, 0, dtype=model.dtype), 0).detach())
    begin = start(system)
    tables = Layout(system, torch.Size()).model(system, begin, is_dense(system))
    noise = system.Q.matrix.contiguous().numpy()[None, None]
    return Arrays(system, begin, tables, noise, system.A.dtype)


def _cloned(system: System) -> System:
    def own(c: Covariance) -> Covariance:
        return c.map(torch.clone)

    a, b, c, d = (x.clone() for x in (system.A, system.b, system.C, system.d))
    first = system.prior
    prior = Gaussian(first.mean.clone(), own(first.covariance), first.diffuse)
    return System(a, b, own(system.Q), c, d, own(system.R), prior)
