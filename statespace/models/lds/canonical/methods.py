"""The questions of identifiability as methods of a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Self

from torch import Tensor

from statespace.errors import InputError, expected
from statespace.models.lds.canonical.alignment import Alignment, align
from statespace.models.lds.canonical.forms import canonical_form
from statespace.models.lds.canonical.realisation import Realisation
from statespace.models.lds.canonical.responses import (
    eigenvalues,
    impulse_response,
    markov_parameters,
)
from statespace.parameters import Fixed, Slot

__all__ = ["Identifiable"]


class Identifiable:
    """For a model with the parameters of a `Realisation`, all constant in time."""

    kinds: tuple[str, ...]
    diffuse_constant: bool
    slot: Callable[[str], Slot]

    def eigenvalues(self) -> Tensor:
        """Eigenvalues of A, the slowest to fade first, complex (*batch, n).

        A pair r exp(+-i w) is a cycle of period 2 pi / w whose amplitude fades by r a step. They
        are the same for every choice of the state's coordinates.
        """
        return eigenvalues(Realisation.of(self).A)

    def markov_parameters(self, num: int) -> Tensor:
        """What one unit of an input does to y, now and later: D + C B, C A B, C A^2 B, ...

        Args:
            num: How many, at least 1.

        Returns:
            (*batch, num, m, p).
        """
        s = Realisation.of(self)
        return markov_parameters(s.A, s.B, s.C, s.D, num)

    def impulse_response(
        self,
        num: int,
        *,
        to: Literal["inputs", "noise"] = "noise",
        of: Literal["y", "z"] = "y",
    ) -> Tensor:
        """What a unit of an input, or a standard deviation of state noise, does from there on.

        Args:
            num: Steps, that of the shock included.
            to: The shock. That of the noise goes to one of the independent parts which the lower
                Cholesky root of Q splits it into.
            of: What responds.

        Returns:
            (*batch, num, m or n, p or n).
        """
        return impulse_response(Realisation.of(self), num, to=to, of=of)

    def canonical_form(self, form: Literal["modal", "observer"] = "modal") -> Self:
        """The equivalent model in which each state is one decay or cycle, or one future of y.

        Args:
            form: "modal" or "observer"; see `statespace.models.lds.canonical.canonical_form`.

        Returns:
            A new model with the same likelihood (up to a constant where z_1 is diffuse). D, d and
            R, which have no coordinates of the state, are declared as here, and a b that is held
            at zero stays so. A, B, C, Q and moments of z_1 are free in every entry: structures,
            ties and what was held of them belong to the old coordinates. Where there were any,
            `num_params` of the new model, and what `compare` shows of it, are larger than those of
            this one.

        Raises:
            InputError: the form does not exist for this model, a parameter varies in time, or
                z_1 is diffuse in some states and not in others.
        """
        return self._with(canonical_form(Realisation.of(self), form=form).system)

    def align(self, other: Identifiable) -> Alignment:
        """The change of state that takes this model to `other`; see `Alignment`.

        Raises:
            InputError: sizes differ, or one of the two is not observable.
        """
        return align(Realisation.of(self), Realisation.of(other))

    def _with(self, s: Realisation) -> Self:
        """A model of the same kind of start with other parameters."""
        kinds = set(self.kinds)
        values: dict[str, Any] = {name: getattr(s, name) for name in ("A", "B", "b", "C", "Q")}
        values |= {name: self.slot(name).declaration() for name in ("D", "d", "R")}
        if not self.slot("b").n_free and not bool(s.b.any()):
            values["b"] = Fixed(s.b)
        if kinds == {"stationary"} or kinds == {"diffuse"}:
            values |= {"initial": self.kinds[0]}
        elif "diffuse" in kinds:
            raise InputError(
                expected(
                    "initial",
                    "all states diffuse, or none",
                    f"{list(self.kinds)}",
                    "A change of state mixes them; give moments of z_1, or use all diffuse.",
                )
            )
        else:
            start = "estimate" if "estimate" in kinds else "known"
            values |= {"initial": start}
            values |= {"initial_mean": s.initial_mean, "initial_cov": s.initial_cov}
        n, m, p = s.n, s.C.shape[-2], s.D.shape[-1]
        make: Any = type(self)
        return make(n, m, p, diffuse_constant=self.diffuse_constant, dtype=s.A.dtype, **values)
