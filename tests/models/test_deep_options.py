"""The options of deep models: each is in the signature and the docstring, and does what it says."""

from __future__ import annotations

import inspect
from typing import Any, Unpack

import pytest
import torch

import statespace as ss
from statespace.errors import InputError, InputTypeError
from statespace.models.deep.base import DeepModel
from statespace.models.deep.options import Options

F64 = torch.float64
NAMES = ("VRNN", "SRNN", "LSTMStateSpace", "DeepKalmanFilter")
every = pytest.mark.parametrize("name", NAMES)


@every
def test_help_lists_every_argument_once(name: str) -> None:
    """Each argument of the signature has its line under Args, and nothing else has one."""
    made = getattr(ss, name)
    text = inspect.getdoc(made) or ""
    block = text.split("Args:\n")[1].split("\n\n")[0]
    lines = [line for line in block.split("\n") if line.startswith("    ") and line[4] != " "]
    assert [line.split(":")[0].strip() for line in lines] == list(
        inspect.signature(made).parameters
    )
    assert max(len(line) for line in (made.__doc__ or "").split("\n")) <= 100


@every
def test_the_defaults_are_the_ones_shown(name: str) -> None:
    """Every default given by hand makes the same model."""
    made = getattr(ss, name)
    shown = inspect.signature(made).parameters.values()
    defaults = {p.name: p.default for p in shown if p.default is not p.empty} | {"seed": 3}
    one, two = made(2, 1, hidden_dim=4, seed=3), made(2, 1, hidden_dim=4, **defaults)
    assert repr(one) == repr(two)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)


def test_sizes_of_their_own() -> None:
    """Each width goes where it says."""
    model: Any = ss.DeepKalmanFilter(
        3, 5, hidden_dim=4, transition_dim=7, emission_dim=(8, 9), posterior_dim=(), dropout=0.1,
        activation="relu", encoder_dim=11, encoder_cell="rnn", encoder_layers=2,
        encoder_activation="relu", posterior="mlp", seed=0,
    )  # fmt: skip

    def shapes(net: Any) -> list[tuple[int, int]]:
        return [tuple(p.shape) for p in net.parameters() if p.dim() == 2]

    assert shapes(model.move.gate) == shapes(model.move.net) == [(7, 3), (3, 7)]
    assert shapes(model.head) == [(8, 3), (9, 8), (10, 9)]  # means and scales
    assert isinstance(model.head.net[1], torch.nn.ReLU)
    assert shapes(model.guide.posterior) == [(6, 14)]
    kernel = model.guide.encoder.path.kernel
    assert isinstance(kernel, torch.nn.RNN)
    assert (kernel.hidden_size, kernel.num_layers, kernel.nonlinearity) == (11, 2, "relu")
    assert model.guide.dropout.p == 0.1
    chain: Any = ss.VRNN(3, 5, hidden_dim=4, transition_dim=[6, 2], encoder_layers=3, seed=0)
    assert shapes(chain.prior) == [(6, 4), (2, 6), (6, 2)]
    assert shapes(chain.guide.encoder) == [(4, 10), (4, 4), (4, 4), (4, 4)]


def test_an_encoder_has_the_cell_of_the_memory() -> None:
    """Unless it is given one."""
    model: Any = ss.VRNN(2, 1, hidden_dim=3, cell="lstm", encoder="causal", seed=0)
    assert isinstance(model.guide.encoder.path.kernel, torch.nn.LSTM)
    model = ss.SRNN(2, 1, hidden_dim=3, cell="lstm", encoder_cell="rnn", seed=0)
    assert isinstance(model.guide.encoder.path.kernel, torch.nn.RNN)
    assert isinstance(model.path.kernel, torch.nn.LSTM)


@pytest.mark.parametrize(
    ("how", "kind", "told"),
    [
        ({"emission_dim": 0}, InputError, "`emission_dim`: expected an integer of at least 1"),
        ({"transition_dim": "4"}, InputTypeError, "`transition_dim`: expected an integer"),
        ({"posterior_dim": (3, 2.5)}, InputTypeError, "`posterior_dim`: expected an integer"),
        ({"encoder_dim": 0}, InputError, "`encoder_dim`: expected an integer of at least 1"),
        ({"encoder_layers": 0}, InputError, "`encoder_layers`: expected an integer"),
        ({"encoder_cell": "elman", "encoder": "causal"}, InputError, "`encoder_cell`: expected"),
        ({"activation": "step"}, InputError, "`activation`: expected one of"),
        ({"encoder_activation": "silu"}, InputError, "`encoder_activation`: expected one of"),
        ({"dropout": 1.0}, InputError, "`dropout`: expected"),
        ({"posterior": None}, InputError, "`posterior`: expected one of"),
    ],
)
def test_what_is_refused(how: dict[str, Any], kind: type[Exception], told: str) -> None:
    """In one sentence that names the argument."""
    with pytest.raises(kind, match=told):
        ss.VRNN(2, 1, hidden_dim=3, **how)


def test_a_model_of_ones_own_takes_the_options() -> None:
    """A subclass that passes its locals; a misspelt option is told its neighbour."""

    class Plain(DeepModel, encoder="pointwise", posterior="residual"):
        """One.

        Args:
            latent_dim: n.
            **options: Those of every deep model.
        """

        def __init__(
            self, latent_dim: int, obs_dim: int, *, hidden_dim: int, **options: Unpack[Options]
        ) -> None:
            input_dim = 0
            super().__init__(locals())

        def _build(self, s: Any) -> None:
            self.prior = self._prior(s, s.latent_dim)
            self.head = self._head(s, s.latent_dim)
            self.guide = self._guide(s, ())

        def initial(self, ctx: Any) -> Any:
            return self.prior(torch.zeros(2))

        def transition(self, z: Any, ctx: Any) -> Any:
            return self.prior(z)

        def emission(self, z: Any, ctx: Any) -> Any:
            return self.head(z)

    assert "encoder_dim: Width of e" in (Plain.__doc__ or "")
    model = Plain(2, 1, hidden_dim=3, min_scale=0.1)
    assert model.settings["encoder"] == "pointwise"
    assert bool(torch.isfinite(model.log_likelihood(torch.randn(4, 1), seed=0)))
    with pytest.raises(InputTypeError, match="Did you mean `emission_dim`"):
        Plain(2, 1, hidden_dim=3, emision_dim=4)  # type: ignore[call-arg]


def test_a_transition_that_reads_what_was_observed() -> None:
    """Its density is a function of y_{t-1}, in the networks' units, and of no earlier y."""
    model: Any = ss.DeepKalmanFilter(2, 2, hidden_dim=4, autoregressive=True, dtype=F64, seed=0)
    g = torch.Generator().manual_seed(1)
    y, z = (torch.randn(5, 2, dtype=F64, generator=g) for _ in range(2))
    model.seen.learn(3 * y + 1, torch.ones_like(y))
    joint = model.log_joint(z, y)
    h = torch.cat([torch.zeros(1, 2, dtype=F64), model.seen(y[:-1])])
    total = model.head(z).log_prob(y).sum() + model.initial(None).log_prob(z[0])
    for t in range(1, 5):
        total = total + model.move(z[t - 1], h[t]).log_prob(z[t])
    assert torch.allclose(joint, total, atol=1e-12)


def test_its_guide_reads_that_too() -> None:
    """q(z_t) hangs on y_{t-1} itself, which the encoder, reading backwards from y_t, has not."""
    model: Any = ss.DeepKalmanFilter(2, 2, hidden_dim=4, autoregressive=True, dtype=F64, seed=0)
    assert model.guide.reads == {"z", "h"}
    z, e = torch.zeros(2, dtype=F64), torch.zeros(4, dtype=F64)
    h = torch.zeros(2, dtype=F64, requires_grad=True)
    (slope,) = torch.autograd.grad(model.guide.posterior(z, e, h, None).mean.sum(), h)
    assert float(slope.abs().min()) > 0
