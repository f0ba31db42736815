"""Activations: values, slopes, and what is refused."""

import pytest
import torch

import statespace as ss
from statespace.activations import ACTIVATIONS, activation
from statespace.errors import InputError, InputTypeError
from statespace.interface import Context


@pytest.mark.parametrize("given", [*ACTIVATIONS, torch.sin, torch.nn.ELU()])
def test_slope_is_the_derivative(given):
    """The slope of every named activation, and of a user's function, is that of autograd."""
    g = activation(given)
    x = torch.linspace(-3, 3, 12, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(g(x).sum(), x)
    torch.testing.assert_close(g.slope(x.detach()), slope, rtol=1e-13, atol=1e-13)


def test_refused():
    """An unknown name, no function, a function that mixes entries or changes the shape."""
    with pytest.raises(ss.errors.InputError, match=r"`f`: expected .*\"tanh\".*received 'swish'"):
        activation("swish", "f")
    with pytest.raises(ss.errors.InputTypeError, match="received int"):
        activation(3)
    with pytest.raises(ss.errors.InputError, match="mixes entries"):
        activation(lambda x: x.softmax(-1))
    with pytest.raises(ss.errors.InputError, match=r"received \(1,\) from \(3,\)"):
        activation(lambda x: x.sum(-1, keepdim=True))


def test_a_linear_model_is_a_network_without_activations():
    """An LDS says of itself that it is a linear network."""
    lds = ss.LDS(2, 3, seed=0)
    none = torch.zeros(0, dtype=torch.float64)
    net = lds.network(Context(torch.tensor(0), none, none))
    assert net.linear
    torch.testing.assert_close(net.dynamics.weight, lds.A)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (torch.nn.Tanh, "one that fails on it"),
        (lambda x: torch.tanh(x).detach(), "one without a gradient"),
        (lambda x: x.detach().numpy() + 1.0, "expected a function from"),
    ],
)
def test_what_torch_cannot_differentiate_is_refused(given, words):
    """A class in the place of its instance, a detached result, numbers of numpy."""
    with pytest.raises((InputError, InputTypeError), match=words):
        activation(given)
