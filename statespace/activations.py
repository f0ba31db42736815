"""Elementwise functions in front of affine maps, with the derivatives that linearising asks for."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from statespace.errors import InputError, InputTypeError, expected

__all__ = ["ACTIVATIONS", "Activation", "activation"]

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Activation:
    """An elementwise function g of a tensor of any shape.

    Attributes:
        name: One of `ACTIVATIONS`; empty for a function of the user's own.
        function: g.
        slope: g', (*) -> (*).

    Example:
        >>> g = activation("tanh")
        >>> g(torch.zeros(1)).item(), g.slope(torch.zeros(1)).item()
        (0.0, 1.0)
    """

    name: str
    function: Function
    slope: Function

    def __call__(self, x: Tensor) -> Tensor:
        """g(x)."""
        return self.function(x)

    def __repr__(self) -> str:
        return repr(self.name) if self.name else repr(self.function)


def _tanh_slope(x: Tensor) -> Tensor:
    return 1 - torch.tanh(x).square()


def _sigmoid_slope(x: Tensor) -> Tensor:
    s = torch.sigmoid(x)
    return s * (1 - s)


def _softplus(x: Tensor) -> Tensor:
    """Log(1 + e^x); torch's own leaves out e^-x from 20 on, where it still counts."""
    return torch.nn.functional.softplus(x, threshold=40.0)


ACTIVATIONS: dict[str, Activation] = {
    "identity": Activation("identity", lambda x: x, torch.ones_like),
    "tanh": Activation("tanh", torch.tanh, _tanh_slope),
    "relu": Activation("relu", torch.relu, lambda x: (x > 0).to(x.dtype)),
    "sigmoid": Activation("sigmoid", torch.sigmoid, _sigmoid_slope),
    "softplus": Activation("softplus", _softplus, torch.sigmoid),
}


def activation(given: Any, argument: str = "activation") -> Activation:
    """The activation that a name or an elementwise function stands for.

    Args:
        given: A name, or a function from tensors to tensors of the same shape that acts on each
            entry alone; its derivative is then found by autograd.
        argument: What it is called where it was given.

    Raises:
        InputTypeError: neither a name nor a function.
        InputError: an unknown name; a function that changes the shape or mixes entries.
    """
    if isinstance(given, Activation):
        return given
    names = ", ".join(f'"{name}"' for name in ACTIVATIONS)
    todo = "Give one of these names or a function that acts on each entry alone."
    if isinstance(given, str):
        if given not in ACTIVATIONS:
            raise InputError(expected(argument, f"{names} or a function", repr(given), todo))
        return ACTIVATIONS[given]
    if not callable(given):
        kind = type(given).__name__
        raise InputTypeError(expected(argument, f"{names} or a function", kind, todo))
    _check_elementwise(given, argument, todo)
    return Activation("", given, lambda x: _slope(given, x))


def _slope(function: Function, x: Tensor) -> Tensor:
    """The derivative of an elementwise function: the gradient of its sum."""
    graph = torch.is_grad_enabled()
    with torch.enable_grad():
        at = x if x.requires_grad else x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(function(at).sum(), at, create_graph=graph)
    return slope


def _check_elementwise(function: Function, argument: str, todo: str) -> None:
    x = torch.tensor([0.3, 0.9, 0.6], dtype=torch.float64)
    try:
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            slopes = function(x.clone().requires_grad_())
    except Exception as error:
        wanted, why = "a function of a tensor", f"one that fails on it ({error})"
        raise InputTypeError(expected(argument, wanted, why, todo)) from error
    if isinstance(slopes, Tensor) and not slopes.requires_grad:
        wanted, why = "a function that torch can differentiate", "one without a gradient"
        raise InputError(expected(argument, wanted, why, todo))
    with torch.no_grad():
        whole = function(x)
        if not isinstance(whole, Tensor) or whole.shape != x.shape:
            got = tuple(whole.shape) if isinstance(whole, Tensor) else type(whole).__name__
            words = "a function from (*) to (*)"
            raise InputError(expected(argument, words, f"{got} from (3,)", todo))
        alone = torch.cat([function(entry) for entry in x.split(1)])
    if not torch.allclose(whole, alone, equal_nan=True):
        words = "a function of each entry alone"
        raise InputError(expected(argument, words, "one that mixes entries", todo))
