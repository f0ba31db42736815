"""What y is, given the linear predictor eta = C z + D u + d: one head for each family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution, Independent, StudentT

from statespace.densities import GaussianRoot, LogRatePoisson
from statespace.errors import InputError, InputTypeError, expected
from statespace.parameters import Declaration, Param, PositiveSlot, Slot, declared

__all__ = [
    "HEADS",
    "DegreesOfFreedom",
    "Head",
    "check_noise",
    "check_values",
    "declare_df",
    "declare_noise",
    "head_of",
]


class DegreesOfFreedom(PositiveSlot):
    """Of Student's t; learned above 2, where there is a variance."""

    floor = 2.0


@dataclass(frozen=True)
class Head:
    """A family.

    Attributes:
        name: Its word.
        density: From eta, f, the root of R and df (None where the family has none) to p(y | z).
        noise: Whether it has an R.
        mean: What eta is: "mean" where f(eta) is the mean of y, else a word for it.
        categorical: y holds categories.
    """

    name: str
    density: Callable[[Tensor, Any, Any, Any], Distribution]
    noise: bool = False
    mean: str = "mean"
    categorical: bool = False


def _gaussian(eta: Tensor, f: Any, root: Any, df: Any) -> Distribution:
    return GaussianRoot(f(eta), root)


def _student(eta: Tensor, f: Any, root: Any, df: Any) -> Distribution:
    scale = root.square().sum(-1).sqrt()  # R is diagonal
    return _each(StudentT(df, f(eta), scale, validate_args=False))


def _bernoulli(eta: Tensor, f: Any, root: Any, df: Any) -> Distribution:
    return _each(Bernoulli(logits=eta, validate_args=False))


def _poisson(eta: Tensor, f: Any, root: Any, df: Any) -> Distribution:
    return _each(LogRatePoisson(eta))


def _categorical(eta: Tensor, f: Any, root: Any, df: Any) -> Distribution:
    return _each(Categorical(logits=eta[..., None, :], validate_args=False))


def _each(d: Distribution) -> Distribution:
    """The entries of y side by side, independent."""
    return Independent(d, 1, validate_args=False)


HEADS = {
    head.name: head
    for head in (
        Head("gaussian", _gaussian, noise=True),
        Head("student_t", _student, noise=True),
        Head("bernoulli", _bernoulli, mean="logits"),
        Head("poisson", _poisson, mean="log rates"),
        Head("categorical", _categorical, mean="logits", categorical=True),
    )
}


def head_of(
    family: Any, obs_dim: int, num_categories: int | None, link: Any, noise: dict[str, Any]
) -> tuple[Head, int]:
    """The head of a family, and the height of C.

    Args:
        family: Its word.
        obs_dim: m.
        num_categories: V, for categories.
        link: What was given as f.
        noise: What was given as R and df.

    Raises:
        InputError, InputTypeError: an unknown family, or an argument that it has no use for.
    """
    if family not in HEADS:
        words = ", ".join(f'"{name}"' for name in HEADS)
        raise InputError(expected("family", f"one of {words}", repr(family), "Choose one of them."))
    head = HEADS[family]
    if head.mean != "mean" and link != "identity":
        wanted = f"none beside family={family!r}, where C z + D u + d are {head.mean}"
        todo = 'Leave it out, or use family="gaussian" or "student_t".'
        raise InputError(expected("output_activation", wanted, f"{link!r:.60}", todo))
    if not head.noise and noise["R"] is not None:
        todo = "Leave it out: the mean says how far y spreads. Noise of the state is Q."
        raise InputError(expected("R", f"none beside family={family!r}", "a value", todo))
    if family != "student_t" and noise["df"] is not None:
        todo = 'Leave it out, or use family="student_t".'
        raise InputError(expected("df", f"none beside family={family!r}", "a value", todo))
    return head, _rows(head, obs_dim, num_categories)


def _rows(head: Head, obs_dim: int, num_categories: Any) -> int:
    if not head.categorical:
        if num_categories is not None:
            todo = 'Leave it out, or use family="categorical".'
            wanted = f"none beside family={head.name!r}"
            raise InputError(expected("num_categories", wanted, repr(num_categories), todo))
        return obs_dim
    if obs_dim != 1:
        todo = "Give obs_dim=1; the size of the vocabulary is num_categories."
        raise InputError(expected("obs_dim", "1 for a categorical y", str(obs_dim), todo))
    if not isinstance(num_categories, int) or isinstance(num_categories, bool):
        todo = "Give num_categories=V; y then holds 0 .. V - 1."
        raise InputTypeError(
            expected("num_categories", "an integer, V", f"{num_categories!r:.40}", todo)
        )
    if num_categories < 2:
        todo = "Give num_categories=V; y then holds 0 .. V - 1."
        raise InputError(expected("num_categories", "at least 2", str(num_categories), todo))
    return num_categories


def declare_noise(head: Head, given: Any) -> Declaration:
    """R as a declaration; diagonal beside Student's t, whose entries are independent."""
    r = declared(given)
    if not isinstance(r, Param) or head.name != "student_t":
        return r
    plain = r.structure == "full" and r.free is None and r.labels is None
    return replace(r, structure="diag") if plain else r


def check_noise(head: Head, r: Slot) -> None:
    """Refuses entries off the diagonal beside Student's t."""
    off = ~torch.eye(r.event[0], dtype=torch.bool, device=r.held.device)
    learned = bool(r.pattern.free[off.cpu()].any())
    if head.name == "student_t" and (learned or bool((r.held[..., off] != 0).any())):
        todo = 'Use Param(structure="diag"), or family="gaussian".'
        wanted = "a diagonal matrix beside student_t, whose entries are independent"
        raise InputError(expected("R", wanted, "entries off the diagonal", todo))


def declare_df(given: Any) -> Declaration:
    """Degrees of freedom as a declaration: learned from 5 where they are left out."""
    return declared(5.0 if given is None else given)


def check_values(head: Head, rows: int, y: Tensor, observed: Tensor, name: str) -> None:
    """Refuses observed entries outside the support.

    Raises:
        InputError: the family cannot give them; the sentence has the first.
    """
    if head.name == "bernoulli":
        fine, words = (y == 0) | (y == 1), "0 and 1"
    elif head.name == "poisson":
        fine, words = (y >= 0) & (y == y.round()), "counts 0, 1, 2, ..."
    elif head.name == "categorical":
        fine, words = (y >= 0) & (y < rows), f"categories 0 .. {rows - 1}"
    else:
        return
    wrong = observed & ~fine
    if bool(wrong.any()):
        got = f"{y[wrong][0].item():g}"
        todo = "Recode y, or use another family=."
        raise InputError(expected(name, f"{words}, since family={head.name!r}", got, todo))
