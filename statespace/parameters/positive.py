"""A positive number as a parameter: learned above a floor."""

from __future__ import annotations

from torch import Tensor

from statespace.errors import InputError, expected
from statespace.parameters.slot import Slot

__all__ = ["PositiveSlot"]


class PositiveSlot(Slot):
    """value = floor + theta^2 where it is learned; any positive number where it is held.

    The floor is approached and never crossed, whatever step an optimiser takes.
    """

    floor: float = 0.0

    def _settle(self) -> None:
        held = self.held.detach()[..., ~self.pattern.free.to(self.held.device)]
        if not bool((held > 0).all()):
            todo = "Give one above 0."
            raise InputError(expected(self.name, "positive numbers", f"{float(held.min())}", todo))

    def value(self) -> Tensor:
        """The parameter, (*batch, [T,] *event)."""
        if self.n_free == 0:
            return self.held
        return self.held + self._spread(self.floor + self._learned().square())

    def pull(self, theta: Tensor, gradient: Tensor) -> Tensor:
        """See `Slot.pull`."""
        return 2 * theta * super().pull(theta, gradient)

    def _project(self, value: Tensor) -> Tensor:
        """The square root of what stands above the floor."""
        above = super()._project(value) - self.floor
        if self.n_free and not bool((above > 0).all()):
            got = f"{float(value.detach().min()):.6g}"
            todo = "Start above it, or hold the number with Fixed."
            raise InputError(expected(self.name, f"more than {self.floor:g} to learn", got, todo))
        return above.sqrt()
