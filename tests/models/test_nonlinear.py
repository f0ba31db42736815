"""`NonlinearGaussian`: a user's functions, their shapes, noise that hangs on the state, storage."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import statespace as ss
from statespace.errors import InputError, InputTypeError, StorageError
from statespace.interface import Context

F64 = torch.float64
T = 6


def sampled(model: Any, u: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    drawn = model.sample(T, inputs=u, seed=seed)
    return drawn.z, drawn.y


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def swing(z: torch.Tensor, ctx: Context) -> torch.Tensor:
    angle, speed = z.unbind(-1)
    return torch.stack([angle + 0.1 * speed, speed - 0.98 * angle.sin() + ctx.u[..., 0]], -1)


def height(z: torch.Tensor, ctx: Context) -> torch.Tensor:
    return z[..., :1].sin()


def wide(z: torch.Tensor, ctx: Context) -> torch.Tensor:
    return torch.diag_embed(0.1 + z.square())


def narrow(z: torch.Tensor, ctx: Context) -> torch.Tensor:
    return 0.1 + z[..., :1, None].square()


class Net(nn.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(2, 4).double(), nn.Linear(4, 2).double()
        g = torch.Generator().manual_seed(seed)
        for p in self.parameters():
            nn.init.normal_(p, std=0.3, generator=g)

    def forward(self, z: torch.Tensor, ctx: Context) -> torch.Tensor:
        return self.last(self.first(z).tanh())


def pendulum(**changes: Any) -> ss.NonlinearGaussian:
    kwargs: dict[str, Any] = {"g": swing, "f": height, "Q": 0.1 * torch.eye(2), "R": [[0.2]]}
    kwargs |= {"initial_mean": [0.3, 0.0], "initial_cov": torch.eye(2), **changes}
    return ss.NonlinearGaussian(2, 1, 1, **kwargs)


MODELS = {
    "values": pendulum,
    "functions of the state": lambda: pendulum(
        Q=wide, R=lambda z, ctx: 0.1 + z[..., :1, None] ** 2
    ),
    "a network": lambda: pendulum(g=Net()),
    "a residual": lambda: pendulum(residual=lambda y, mean: torch.sin(y - mean)),
    "what is left out, drawn": lambda: pendulum(
        Q=None, R=None, initial_mean=None, initial_cov=None, seed=0
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_it_keeps_the_contract(name: str) -> None:
    """The promises of the contract, sample axes, batches, time and all."""
    assert ss.check_model(MODELS[name]())


def log_normal(x: float, mean: float, variance: float) -> float:
    return -0.5 * ((x - mean) ** 2 / variance + math.log(2 * math.pi * variance))


def test_the_joint_is_that_of_explicit_loops() -> None:
    """Q is read at z_{t-1}, R at z_t; u_t moves z_t."""
    model = MODELS["functions of the state"]()
    u = draws(T, 1)
    z, y = sampled(model, u, seed=1)
    total = log_normal(float(z[0, 0]), 0.3, 1.0) + log_normal(float(z[0, 1]), 0.0, 1.0)
    for t in range(T):
        now = [float(v) for v in z[t]]
        if t:
            a, s = (float(v) for v in z[t - 1])
            move = (a + 0.1 * s, s - 0.98 * math.sin(a) + float(u[t, 0]))
            total += sum(
                log_normal(x, m, 0.1 + v * v) for x, m, v in zip(now, move, (a, s), strict=True)
            )
        total += log_normal(float(y[t, 0]), math.sin(now[0]), 0.1 + now[0] ** 2)
    assert_close(float(model.log_joint(z, y, u)), total, rtol=1e-12, atol=1e-12)


def test_a_residual_wraps_angles_in_every_method() -> None:
    """The density of a bearing half a turn from the seam is that of the same bearing elsewhere.

    Would catch: a particle filter that sees another model than a Kalman filter does.
    """

    def turn(y: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
        return torch.remainder(y - mean + math.pi, 2 * math.pi) - math.pi

    def walk(shift: float) -> Any:
        return ss.NonlinearGaussian(
            1, 2, g=lambda z, ctx: z, f=lambda z, ctx: (z + shift).expand(*z.shape[:-1], 2),
            Q=[[0.01]], R=0.04 * torch.eye(2), initial_mean=[0.0], initial_cov=[[0.01]],
            residual=turn,
        )  # fmt: skip

    y = 0.3 * draws(T, 2)
    y[2, 1] = math.nan
    over = torch.remainder(y + math.pi + math.pi, 2 * math.pi) - math.pi
    values = [
        model.log_likelihood(data, method=ss.ParticleFilter(200), seed=0)
        for model, data in ((walk(0.0), y), (walk(math.pi), over))
    ]
    assert_close(values[0], values[1], rtol=1e-9, atol=1e-9)
    at = walk(math.pi)
    near = at.residual(torch.tensor([-3.1, 0.0]), torch.tensor([3.1, 0.0]))
    assert_close(near, torch.tensor([2 * math.pi - 6.2, 0.0]))


def test_weights_of_modules_are_learned_and_counted() -> None:
    """They are parameters of the model, and their gradients are right."""
    net = Net()
    model = pendulum(g=net)
    assert model.num_params == 22 + 3 + 1
    u = draws(T, 1)
    z, y = sampled(model, u, seed=1)
    grads = torch.autograd.grad(model.log_joint(z, y, u), list(net.parameters()))
    assert all(bool(g.any()) for g in grads)


def test_saved_is_loaded(tmp_path: Any) -> None:
    """Functions are handed over again; a Module gets the weights that were learned."""
    model = pendulum(g=Net(seed=1), Q=wide)
    model.save(tmp_path / "m")
    with pytest.raises(StorageError, match="Q, f, g"):
        ss.load(tmp_path / "m")
    again = ss.load(tmp_path / "m", g=Net(seed=2), f=height, Q=wide)
    u = draws(T, 1)
    z, y = sampled(model, u, seed=1)
    assert torch.equal(model.log_joint(z, y, u), again.log_joint(z, y, u))
    with pytest.raises(StorageError, match="`functions`: expected Modules with the weights"):
        ss.load(tmp_path / "m", g=swing, f=height, Q=wide)
    with pytest.raises(InputTypeError, match="residual"):
        ss.load(tmp_path / "m", g=Net(), f=height, Q=wide, residual=lambda y, m: y - m)


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"g": lambda z, ctx: z[..., :1]}, InputError, r"`g`: expected shape \(2,\) from z"),
        ({"g": lambda z, ctx: z.sum(-1)}, InputError, r"`g`: expected shape \(2,\)"),
        ({"g": lambda z, ctx: 3.0}, InputTypeError, "`g`: expected a tensor, received float"),
        ({"g": lambda z, ctx: z.float()}, InputError, "`g`: expected torch.float64"),
        ({"f": lambda z, ctx: z}, InputError, r"`f`: expected shape \(1,\)"),
        ({"Q": lambda z, ctx: z}, InputError, r"`Q`: expected shape \(2, 2\)"),
        ({"Q": lambda z, ctx: -wide(z, ctx)}, InputError, "`Q`: expected a positive semidefinite"),
        ({"R": lambda z, ctx: z}, InputError, r"`R`: expected shape \(1, 1\)"),
        ({"g": 3}, InputTypeError, "`g`: expected a function"),
        ({"residual": 3}, InputTypeError, "`residual`: expected a function"),
        ({"Q": torch.eye(3)}, InputError, "`Q`: expected shape"),
        ({"initial": "stationary", "initial_mean": None, "initial_cov": None}, InputError,
         "`initial`: expected one of"),
    ],
)  # fmt: skip
def test_wrong_input_is_refused(changes: Any, kind: type[Exception], words: str) -> None:
    """In one sentence: the argument, what was expected, what came."""
    with pytest.raises(kind, match=words):
        pendulum(**changes).sample(3, inputs=draws(3, 1), seed=0)


def test_a_residual_of_a_wrong_shape_is_refused() -> None:
    """When it is first called."""
    model = pendulum(residual=lambda y, mean: (y - mean).sum(-1))
    with pytest.raises(InputError, match="`residual`: expected shape"):
        model.log_joint(draws(3, 2), draws(3, 1), draws(3, 1))


def test_a_point_that_is_read_as_a_batch_is_refused() -> None:
    """z[0] for z[..., 0] goes unnoticed at one point, and not at many."""
    model = pendulum(g=lambda z, ctx: torch.stack([z[0], z[1]], -1))
    with pytest.raises(InputError, match="`g`: expected shape"):
        model.sample(3, 5, inputs=draws(3, 1), seed=0)


def wander(**changes: Any) -> ss.NonlinearGaussian:
    """Kitagawa-like growth in two columns, with whatever is not given left out."""
    return ss.NonlinearGaussian(
        1, 2, g=lambda z, ctx: 0.9 * z + 2 * z / (1 + z.square()),
        f=lambda z, ctx: torch.cat([z, 10 * (0.2 * z).sin()], -1), **changes,
    )  # fmt: skip


def test_what_is_left_out_starts_from_the_data() -> None:
    """Q, R and the moments of z_1: near the truth in size, and learned from there."""
    truth = wander(Q=[[0.3]], R=torch.diag(torch.tensor([0.1, 2.0])), initial_mean=[0.5],
                   initial_cov=[[1.0]])  # fmt: skip
    y = truth.sample(80, seed=1).y
    model = wander()
    fit = model.fit(y, learner=ss.Gradient(60, lr=0.05), seed=0)
    assert fit.history[0] > float(truth.log_likelihood(y).detach()) - 1.0 * y.numel()
    assert fit.log_likelihood > fit.history[0] + 5
    assert "initial_mean, initial_cov" in fit.reason
    ratio = torch.stack(
        [model.Q.detach()[0, 0] / 0.3, *(model.R.detach().diagonal() / truth.R.detach().diagonal())]
    )
    assert bool(((ratio > 0.3) & (ratio < 3)).all())


def test_a_linear_model_in_functions_has_the_kalman_numbers() -> None:
    """Constant or as functions that return constants, the noise is the same noise."""
    a, c = 0.8 * draws(2, 2, seed=3), draws(1, 2, seed=4)
    q, r = torch.diag(torch.tensor([0.5, 0.2])).double(), torch.tensor([[0.3]]).double()
    start = {"initial_mean": torch.zeros(2), "initial_cov": torch.eye(2)}
    lds = ss.LDS(2, 1, A=a, C=c, Q=q, R=r, **start)
    y = draws(3, 8, 1, seed=5)
    y[0, 2] = math.nan
    for noise in ({"Q": q, "R": r}, {"Q": lambda z, ctx: q, "R": lambda z, ctx: r}):
        model = ss.NonlinearGaussian(
            2, 1, g=lambda z, ctx: z @ a.mT, f=lambda z, ctx: z @ c.mT, **noise, **start
        )
        for method in (ss.ExtendedKalman(), ss.UnscentedKalman()):
            found = model.log_likelihood(y, method=method)
            assert_close(found.detach(), lds.log_likelihood(y).detach(), rtol=1e-9, atol=1e-9)
        assert_close(model.smooth(y).mean, lds.smooth(y).mean, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"g": torch.nn.Linear(1, 1)}, r"`g`: expected a function of \(z, ctx\)"),
        ({"f": lambda z: z}, r"`f`: expected a function of \(z, ctx\), received one of \(z\)"),
        ({"residual": lambda e: e}, r"`residual`: expected a function of \(y, mean\)"),
    ],
)
def test_functions_of_other_arguments_are_refused(changes: Any, words: str) -> None:
    """When they are given, and with what they should take."""
    functions = {"g": lambda z, ctx: z, "f": lambda z, ctx: z, **changes}
    with pytest.raises(InputTypeError, match=words):
        ss.NonlinearGaussian(1, 1, **functions)


def test_a_state_of_no_size_is_refused() -> None:
    for make in (ss.NoisyRNN, ss.NonlinearGaussian):
        more = {} if make is ss.NoisyRNN else {"g": lambda z, ctx: z, "f": lambda z, ctx: z}
        with pytest.raises(InputError, match="`latent_dim`: expected at least 1, received 0"):
            make(0, 1, **more)
