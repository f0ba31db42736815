"""Gradient flow: products of Jacobians against plain products, autograd and the spectral radius."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal

import statespace as ss
from statespace.diagnostics import gradient_flow
from statespace.errors import InputError, MethodError
from statespace.interface import Context, GaussianLatent, Real


class Tanh(GaussianLatent):
    """z_t = tanh(W z_{t-1} + B u_t) + w_t, y_t = z_t + v_t."""

    def __init__(self, weight, push=None):
        super().__init__()
        self.weight = nn.Parameter(torch.as_tensor(weight, dtype=torch.float64))
        n = len(self.weight)
        self.latent, self.obs_dim = Real(n), n
        self.push = push
        self.input_dim = 0 if push is None else push.shape[-1]

    def _noise(self, mean):
        return Independent(Normal(mean, torch.full_like(mean, 0.1)), 1)

    def initial(self, ctx):
        return self._noise(ctx.u.new_zeros(self.latent.size))

    def transition(self, z, ctx):
        a = z @ self.weight.mT
        return self._noise(torch.tanh(a if self.push is None else a + ctx.u @ self.push.mT))

    def emission(self, z, ctx):
        return self._noise(z)

    def default_method(self):
        return ss.ParticleFilter(50)

    def default_learner(self):
        return ss.Gradient(steps=1)


def _random(n=3, seed=0):
    return torch.as_tensor(np.random.default_rng(seed).standard_normal((n, n)))


def _path(T=7, n=3, batch=(), seed=1):
    return torch.as_tensor(np.random.default_rng(seed).standard_normal((*batch, T, n)))


def test_jacobians_and_norms_are_those_of_the_formula():
    """J_t = diag(1 - tanh^2(a_t)) W, a_t with its input; norms are those of plain products."""
    W, B = _random(), _random(3, 2)[:, :2]
    model, z, u = Tanh(W, B), _path(), _path(7, 2, seed=3)
    flow = gradient_flow(model, inputs=u, path=z)
    J = [torch.diag(1 - torch.tanh(W @ z[t - 1] + B @ u[t]) ** 2) @ W for t in range(1, 7)]
    torch.testing.assert_close(flow.jacobians, torch.stack(J))
    product, ahead = torch.eye(3, dtype=torch.float64), [0.0]
    for factor in J:
        product = factor @ product
        ahead.append(math.log(torch.linalg.matrix_norm(product, 2)))
    torch.testing.assert_close(flow.log_norms, torch.tensor(ahead, dtype=torch.float64))
    back = [math.log(torch.linalg.matrix_norm(torch.linalg.multi_dot([*J[t:][::-1]]), 2))
            for t in range(5)] + [math.log(torch.linalg.matrix_norm(J[5], 2)), 0.0]  # fmt: skip
    torch.testing.assert_close(flow.log_norms_back, torch.tensor(back, dtype=torch.float64))
    torch.testing.assert_close(flow.log_norms[-1], flow.log_norms_back[0])


def test_growth_tends_to_the_spectral_radius_and_a_nonnormal_matrix_grows_first():
    """(1/T) log ||A^T|| tends to log rho(A); a non-normal A with rho < 1 grows before it decays."""
    A = torch.tensor([[0.95, 10.0], [0.0, 0.9]], dtype=torch.float64)
    eye = torch.eye(2, dtype=torch.float64)
    zero = torch.zeros(2, dtype=torch.float64)
    lds = ss.LDS(2, 2, A=A, C=eye, Q=eye, R=eye, initial_mean=zero, initial_cov=eye)
    flow = gradient_flow(lds, path=torch.zeros(3000, 2))
    assert abs(float(flow.rate) - math.log(0.95)) < 3e-3
    assert abs(float(flow.log_radius) - math.log(0.95)) < 1e-12
    torch.testing.assert_close(
        flow.exponents, torch.tensor([0.95, 0.9], dtype=torch.float64).log(), rtol=5e-3, atol=3e-3
    )
    peak = int(flow.log_norms.argmax())
    assert flow.log_norms[peak] > math.log(50)
    assert 5 < peak < 40
    below = int(flow.first_below())
    assert flow.log_norms[below] < math.log(1e-6) <= flow.log_norms[below - 1]
    assert int(flow.first_above()) == -1
    assert "not exploded" in str(flow)


def test_far_beyond_the_range_of_floats():
    """||A^T|| of 1e-1500 and 1e+1500 is told as its logarithm; a dead unit is -inf, not NaN."""
    for rho, word in ((0.1, "under"), (10.0, "over")):
        flow = gradient_flow(Tanh([[rho]]), path=torch.zeros(1501, 1))
        assert abs(float(flow.log_norms[-1]) - 1500 * math.log(rho)) < 1e-8
        assert word in str(flow)
    dead = gradient_flow(Tanh([[0.0]]), path=torch.zeros(4, 1))
    assert dead.log_norms.tolist() == [0.0, -math.inf, -math.inf, -math.inf]
    assert int(dead.first_below()) == 1


def test_batches_ragged_and_smoothed_paths():
    """A batch is its series one by one, each to its own end; y gives the smoothed path."""
    model, z = Tanh(_random()), _path(6, batch=(2,))
    flow = gradient_flow(model, z, path=z, lengths=[6, 4])
    for i, end in enumerate((6, 4)):
        one = gradient_flow(model, path=z[i, :end])
        torch.testing.assert_close(flow.log_norms[i, :end], one.log_norms)
        torch.testing.assert_close(flow.log_norms_back[i, :end], one.log_norms_back)
        torch.testing.assert_close(flow.exponents[i], one.exponents)
        torch.testing.assert_close(flow.rate[i], one.rate)
    assert flow.log_norms[1, 4:].isnan().all()
    lds = ss.LDS(2, 1, seed=0)
    y = _path(9, 1)
    smoothed = gradient_flow(lds, path=lds.smooth(y).mean)
    torch.testing.assert_close(gradient_flow(lds, y).log_norms, smoothed.log_norms)


def test_backpropagation_through_time_by_the_formula():
    """Autograd's dL/dh_t is W' diag(1 - h_{t+1}^2) dL/dh_{t+1} + V' dL/do_t, at 1e-12."""
    W, V, h0 = _random(seed=4), _random(seed=5), _path(1, seed=6)[0]
    target = _path(8, seed=7)
    h, hs = h0.clone().requires_grad_(), []
    hs.append(h)
    for _ in range(7):
        h = torch.tanh(W @ h)
        h.retain_grad()
        hs.append(h)
    outputs = [V @ x for x in hs]
    loss = sum(0.5 * (o - y).square().sum() for o, y in zip(outputs, target, strict=True))
    loss.backward()
    later = torch.zeros(3, dtype=torch.float64)
    for t in reversed(range(8)):
        if t < 7:
            later = W.mT @ ((1 - hs[t + 1].detach() ** 2) * later)
        later = later + V.mT @ (outputs[t].detach() - target[t])
        torch.testing.assert_close(hs[t].grad, later, rtol=1e-12, atol=1e-12)
    flow = gradient_flow(Tanh(W), path=torch.stack(hs).detach())
    found = V.mT @ (outputs[7].detach() - target[7])
    for J in flow.jacobians.flip(0):  # the part of dL/dh_1 that comes from the last output
        found = J.mT @ found
    (alone,) = torch.autograd.grad(
        0.5 * (V @ _unrolled(W, x := h0.clone().requires_grad_()) - target[7]).square().sum(), x
    )
    torch.testing.assert_close(found, alone, rtol=1e-12, atol=1e-12)


def _unrolled(W, h):
    for _ in range(7):
        h = torch.tanh(W @ h)
    return h


def test_a_memory_has_the_jacobians_of_its_cell():
    """An Elman network that is told y: J_t = diag(1 - h_t^2) W, whatever the weights."""
    rnn = ss.AutoregressiveRNN(2, hidden_dim=3, cell="rnn", seed=0, dtype=torch.float64)
    y = _path(6, seed=1)[:, :2]
    flow = gradient_flow(rnn, y)
    (weight,) = (p for name, p in rnn.path.named_parameters() if "weight_hh" in name)
    h = rnn.path.start(torch.Size(), ())
    told = torch.cat([torch.zeros(1, 2, dtype=torch.float64), y[:-1]])
    for t in range(6):
        x = rnn.feed(None, told[t], Context(torch.tensor(t), y[t, :0], y[t, :0]))
        h = rnn.path.step(h, x)
        if t:
            expected = (1 - rnn.path.read(h) ** 2)[:, None] * weight
            torch.testing.assert_close(flow.jacobians[t - 1], expected.detach())


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_gated_memory_is_derived_as_a_whole(cell):
    """Of two layers: autograd's Jacobian of a whole step, the condition left out."""
    rnn = ss.AutoregressiveRNN(1, hidden_dim=3, cell=cell, layers=2, condition_dim=2, seed=0,
                               dtype=torch.float64)  # fmt: skip
    y, c = _path(5, seed=1)[:, :1], _path(1, seed=2)[0, :2]
    flow = gradient_flow(rnn, y, condition=c)
    start = rnn.path.start(torch.Size(), c)
    k = sum(leaf.shape[-1] for leaf in start[:-1])
    assert flow.jacobians.shape == (4, k, k)
    u = y[0, :0]
    first = rnn.path.step(start, rnn.feed(None, torch.zeros(1).double(), Context(0, u, u)))

    def second(flat):
        leaves = flat.split([leaf.shape[-1] for leaf in first[:-1]])
        memory = rnn.path.step((*leaves, first[-1]), rnn.feed(None, y[0], Context(1, u, u)))
        return torch.cat(memory[:-1])

    found = torch.autograd.functional.jacobian(second, torch.cat(first[:-1]).detach())
    torch.testing.assert_close(flow.jacobians[0], found)


def test_a_memory_that_never_moves_has_vanished():
    """All weights zero: Jacobians of zero, and no error."""
    rnn = ss.AutoregressiveRNN(1, hidden_dim=2, cell="rnn", seed=0)
    with torch.no_grad():
        for p in rnn.path.parameters():
            p.zero_()
    flow = gradient_flow(rnn, torch.zeros(4, 1))
    assert not flow.jacobians.any()
    assert int(flow.first_below()) == 1


def test_refused():
    """No data and no path; a path of a wrong shape; a state that is no vector."""
    with pytest.raises(InputError, match="`y`: expected data or a path, received neither"):
        gradient_flow(Tanh(_random()))
    with pytest.raises(InputError, match=r"`path`: expected shape \(5, 3\), received \(4, 3\)"):
        gradient_flow(Tanh(_random()), torch.zeros(5, 3), path=torch.zeros(4, 3))
    rnn = ss.AutoregressiveRNN(1, hidden_dim=3, seed=0)
    with pytest.raises(InputError, match="where nothing is latent, received a path"):
        gradient_flow(rnn, torch.zeros(5, 1), path=torch.zeros(5, 3))
    with pytest.raises(InputError, match="missing entries"):
        gradient_flow(rnn, torch.tensor([0.0, math.nan, 1.0]))
    with pytest.raises(MethodError, match="differentiates"):
        gradient_flow(ss.LDS(0, 1, seed=0), torch.zeros(5, 1))
    with pytest.raises(InputError, match="at least two rows"):
        gradient_flow(Tanh(_random()), path=torch.zeros(1, 3))
    with pytest.raises(InputError, match="`factor`"):
        gradient_flow(Tanh(_random()), path=_path()).first_below(0.0)
