"""Emission heads: Modules that make a density of y from features, one for each family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from statespace.errors import InputError, InputTypeError, expected
from statespace.nn.counted import BernoulliHead, CategoricalHead, PoissonHead
from statespace.nn.head import Head
from statespace.nn.located import (
    GaussianHead,
    MixtureHead,
    MultivariateHead,
    MultivariateStudentHead,
    StudentHead,
)
from statespace.sequences import read_count

__all__ = ["FAMILIES", "Head", "emission_head"]


FAMILIES = (
    "gaussian",
    "student_t",
    "multivariate_normal",
    "multivariate_student_t",
    "mixture",
    "bernoulli",
    "poisson",
    "categorical",
)


def emission_head(
    family: Any,
    features: int,
    obs_dim: int,
    *,
    hidden: Sequence[int] = (),
    activation: str = "tanh",
    skip: bool = False,
    num_categories: int | None = None,
    num_components: int | None = None,
    min_scale: float = 1e-3,
    dtype: torch.dtype = torch.float32,
) -> nn.Module:
    """A Module from features (*, f) to a density of y.

    Args:
        family: "gaussian", "student_t", "multivariate_normal", "multivariate_student_t",
            "mixture" (of Gaussians), "bernoulli", "poisson", "categorical", or a Module of the
            user's whose call returns a Distribution.
        features: f.
        obs_dim: m.
        hidden: Widths of layers between.
        activation: Between them.
        skip: Whether a linear map of the features is added.
        num_categories: V, of a categorical y (or of a user's head for one).
        num_components: Of a mixture.
        min_scale: A floor under the scales, in standard deviations of the training data.
        dtype: Of the weights.

    Raises:
        InputError, InputTypeError: an unknown family, or an argument that it has no use for.

    Example:
        >>> emission_head("bernoulli", 3, 88)(torch.zeros(5, 4, 3)).event_shape
        torch.Size([88])
    """
    if isinstance(family, nn.Module):
        return family
    _check_head(family, obs_dim, num_categories, num_components, min_scale)
    more = (hidden, activation, skip, dtype)
    if family == "categorical":
        size = read_count(num_categories, name="num_categories", at_least=2)
        return CategoricalHead(features, size, more)
    if family == "mixture":
        size = read_count(num_components, name="num_components", at_least=1)
        return MixtureHead(features, obs_dim, size, min_scale, more)
    if family in ("bernoulli", "poisson"):
        return (BernoulliHead if family == "bernoulli" else PoissonHead)(features, obs_dim, more)
    located: dict[str, Any] = {
        "gaussian": GaussianHead,
        "multivariate_normal": MultivariateHead,
        "multivariate_student_t": MultivariateStudentHead,
        "student_t": StudentHead,
    }
    head: nn.Module = located[family](features, obs_dim, min_scale, more)
    return head


def _check_head(
    family: Any, obs_dim: int, num_categories: Any, num_components: Any, min_scale: Any
) -> None:
    if not isinstance(family, str) or family not in FAMILIES:
        words = ", ".join(f'"{name}"' for name in FAMILIES)
        todo = "Choose one, or give a Module whose call returns a Distribution."
        raise InputError(expected("family", f"one of {words}", f"{family!r:.60}", todo))
    _check_own("num_categories", num_categories, family == "categorical", family)
    _check_own("num_components", num_components, family == "mixture", family)
    if not isinstance(min_scale, int | float) or not 0 < min_scale < 1:
        todo = "Give a part of the standard deviation of the data."
        raise InputError(expected("min_scale", "a number in (0, 1)", repr(min_scale), todo))
    if family == "categorical" and obs_dim != 1:
        todo = "Give obs_dim=1; the size of the vocabulary is num_categories."
        raise InputError(expected("obs_dim", "1 for a categorical y", str(obs_dim), todo))


def _check_own(name: str, value: Any, own: bool, family: str) -> None:
    if own and value is None:
        todo = f"Give {name}=."
        raise InputTypeError(expected(name, f"a number, for family={family!r}", "none", todo))
    if value is not None and not own:
        todo = "Leave it out."
        raise InputError(expected(name, f"none beside family={family!r}", repr(value), todo))
