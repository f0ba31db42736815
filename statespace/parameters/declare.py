"""What a user says about a parameter: learned, held, varying in time, tied, structured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from statespace.errors import InputError, InputTypeError, expected
from statespace.parameters.priors import InverseWishart, Normal
from statespace.parameters.read import Structure

__all__ = ["Declaration", "Fixed", "Param", "Varying", "declared"]


@dataclass(frozen=True, eq=False)
class Param:
    """A parameter that is learned, wholly or in part.

    Attributes:
        value: Start values, and the values of entries that are held. Without one, entries that
            are not free are 0 and the others are found from the data at `fit`.
        structure: "full", "diag", "scalar" (one number times the identity) or "identity" (held
            at the identity). The last three are for square matrices.
        free: Boolean mask of the shape of the parameter, True where learned; all by default.
        labels: Integers of that shape. Entries with equal labels share a value, those with a
            negative label have the negative of it (as MARSS writes shared entries); 0 ties
            nothing.
        prior: A `Normal` on the entries of a coefficient, an `InverseWishart` on a covariance.
        start: False if the free entries of `value` are to be found from the data at `fit`, the
            others held at `value` all the same.

    In a covariance a block of entries that hang together is learned as a whole or held as a
    whole; ties are between variances, between whole blocks of one size, or between all variances
    and between all covariances of one block.

    Example:
        >>> damped = Param([[0.9, 0.3], [-0.3, 0.9]], labels=[[1, 2], [-2, 1]])
        >>> first_only = Param([[0.5, 0.1], [1.0, 0.0]], free=[[True, True], [False, False]])
    """

    value: Any = None
    structure: Structure = "full"
    free: Any = None
    labels: Any = None
    prior: Normal | InverseWishart | None = None
    start: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.value, Param | Fixed | Varying):
            raise InputTypeError(
                expected(
                    "value",
                    "numbers",
                    f"a {type(self.value).__name__}",
                    "Nest the other way round: Varying(Param(v)) is the one nesting there is.",
                )
            )
        if self.structure not in get_args(Structure):
            raise InputError(
                expected(
                    "structure",
                    'one of "full", "diag", "scalar", "identity"',
                    repr(self.structure),
                    "Choose one of them, or free entries one by one with free=.",
                )
            )
        if self.prior is not None and not isinstance(self.prior, Normal | InverseWishart):
            raise InputTypeError(
                expected(
                    "prior",
                    "a Normal or an InverseWishart",
                    type(self.prior).__name__,
                    "Build one from statespace.parameters.",
                )
            )


@dataclass(frozen=True, eq=False)
class Fixed:
    """A parameter that is held, and keeps the autograd graph of what it was given.

    Example:
        >>> import torch
        >>> theta = torch.tensor(0.9, requires_grad=True)
        >>> rotation = Fixed(torch.stack([theta.cos(), theta.sin()]))
    """

    value: Any


@dataclass(frozen=True, eq=False)
class Varying:
    """A parameter with a row for every step, (*batch, T, ...).

    Row t acts on the transition into z_t and on y_t; T + horizon rows to forecast. Held, with its
    autograd graph; `Varying(Param(v))` is learned by gradient and held by EM.

    Example:
        >>> import torch
        >>> regressors = torch.randn(100, 1, 3)  # C_t, one row of three columns a step
        >>> c = Varying(regressors)
    """

    value: Any


Declaration = Param | Fixed | Varying


def declared(value: Any, *, held: bool = False) -> Declaration:
    """A declaration as it is; anything else is a start value, or a held one if `held`."""
    if isinstance(value, Param | Fixed | Varying):
        return value
    if value is None or not held:
        return Param(value)
    return Fixed(value)
