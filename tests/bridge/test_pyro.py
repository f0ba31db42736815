"""Models as Pyro programs: the sites say what the densities say, and Pyro's engines apply."""

import math
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from contract.stand_ins import Causal
from contract.tiny import MODELS, READ_Y, Discrete, Plain, Switch, inputs, ragged_case
from pyro.infer import SVI, Predictive, Trace_ELBO, TraceEnum_ELBO
from pyro.ops.integrator import potential_grad
from torch.testing import assert_close

import statespace as ss
from statespace.errors import InputError, InputTypeError
from statespace.interface import Amortised, Context

F64 = torch.float64
SITES = [name for name, kind in MODELS.items() if kind is not Switch]


@pytest.fixture(autouse=True)
def fresh():
    pyro.clear_param_store()
    with torch.random.fork_rng():
        pyro.set_rng_seed(0)
        yield
    pyro.clear_param_store()


def traced(program, *args, **kwargs):
    return pyro.poutine.trace(program).get_trace(*args, **kwargs)


def states(trace, rows, like):
    return torch.stack([trace.nodes[f"z_{t + 1}"]["value"] for t in range(rows)], like)


def level(q, r):
    """A local level: Q and R as they are given, z_1 ~ N(0, 10)."""
    return ss.LDS(1, 1, A=[[1.0]], C=[[1.0]], Q=q, R=r, initial_mean=[0.0], initial_cov=[[10.0]])


class Guided(Plain, Amortised):
    """The plain model with a causal guide."""

    def __init__(self):
        super().__init__()
        self.guide = Causal(self.obs_dim, self.latent.size)


# ------------------------------------------------------------------ a model as a program


@pytest.mark.parametrize("name", SITES)
def test_sites_add_up_to_the_joint_density(name):
    """Over series of unequal length, with gaps where nothing is fed back."""
    m = MODELS[name]()
    y, u, lengths = ragged_case(m, missing=name not in READ_Y)
    trace = traced(ss.pyro.model(m), y, u, lengths=lengths)
    z = states(trace, y.shape[-2], 1 if isinstance(m, Discrete) else -2)
    assert_close(trace.log_prob_sum(), m.log_joint(z, y, u, lengths=lengths).sum())


def test_parameters_carry_gradients_and_have_names():
    m = Plain()
    y, u = torch.zeros(4, m.obs_dim, dtype=F64), inputs(4)
    trace = traced(ss.pyro.model(m), y, u)
    trace.log_prob_sum().backward()
    assert all(p.grad is not None for p in m.parameters())
    assert {f"statespace$$${n}" for n, _ in m.named_parameters()} == set(pyro.get_param_store())


def test_several_axes_of_series_are_plates():
    m = ss.LDS(2, 1, seed=0)
    y = m.sample(4, (2, 3), seed=1).y.detach()
    trace = traced(ss.pyro.model(m), y)
    assert trace.nodes["z_1"]["value"].shape == (2, 3, 2)
    assert_close(trace.log_prob_sum(), m.log_joint(states(trace, 4, -2), y).sum())
    vectorised = Trace_ELBO(num_particles=7, vectorize_particles=True, max_plate_nesting=2)
    wide = pyro.infer.autoguide.AutoNormal(ss.pyro.model(m))
    assert math.isfinite(vectorised.loss(ss.pyro.model(m), wide, y))


def test_without_y_it_draws():
    """`Predictive` gives rows whose moments are those of the prior (4.5 standard errors)."""
    m = ss.LDS(1, 1, A=[[0.8]], C=[[2.0]], d=[1.0], Q=[[0.5]], R=[[0.3]],
               initial_mean=[1.0], initial_cov=[[2.0]])  # fmt: skip
    drawn = Predictive(ss.pyro.model(m), num_samples=2000)(None, num_steps=2)
    mean, variance = 2.0 * 0.8 + 1.0, 4.0 * (0.64 * 2.0 + 0.5) + 0.3
    assert drawn["y_2"].shape == (2000, 1)
    assert float(drawn["y_2"].mean()) == pytest.approx(mean, abs=4.5 * (variance / 2000) ** 0.5)
    assert float(drawn["y_2"].var()) == pytest.approx(variance, rel=4.5 * (2 / 2000) ** 0.5)


def test_finite_states_are_enumerated():
    """Pyro's sum over all paths is the dumb one's."""
    m = Discrete()
    y, u = torch.zeros(3, m.obs_dim, dtype=F64), inputs(3)
    elbo = TraceEnum_ELBO(max_plate_nesting=0)
    found = -elbo.differentiable_loss(
        pyro.infer.config_enumerate(ss.pyro.model(m)), lambda *a, **k: None, y, u
    )
    k = m.latent.size
    paths = torch.cartesian_prod(*[torch.arange(k)] * 3)
    every = torch.stack([m.log_joint(path, y, u) for path in paths])
    assert_close(found.detach(), every.logsumexp(0).detach())


# ------------------------------------------------------------------ guides


def test_the_guide_draws_the_same_sites():
    """Pyro's bound with one draw is log p(z, y) - log q(z) at that draw, to 1e-10."""
    m = Guided()
    y, u, lengths = ragged_case(m)
    guide, program = ss.pyro.guide(m), ss.pyro.model(m)
    pyro.set_rng_seed(3)
    bound = -Trace_ELBO().loss(program, guide, y, u, lengths=lengths)
    pyro.set_rng_seed(3)
    q = traced(guide, y, u, lengths=lengths)
    joint = m.log_joint(states(q, y.shape[-2], -2), y, u, lengths=lengths).sum()
    assert bound == pytest.approx(float((joint - q.log_prob_sum()).detach()), abs=1e-10)


def test_the_guide_reads_each_rows_encoding():
    """log q of every site is that of the guide, called row by row with the encoding of the row."""
    m, u = Guided(), inputs(3, 5)
    y = m.sample(5, inputs=u, seed=1).y.detach()
    trace = traced(ss.pyro.guide(m), y, u)
    e, z = torch.cat([y, torch.ones_like(y)], -1), m.origin(torch.Size([3]))[0]
    total = 0.0
    for t in range(5):
        ctx = Context(torch.tensor(t), u[:, t], u[:, t, :0])
        prior = m.initial(ctx) if t == 0 else m.transition(z, ctx)
        before, z = z, trace.nodes[f"z_{t + 1}"]["value"]
        total = total + m.guide(before, e[:, t], ctx, prior).log_prob(z).sum()
    assert_close(trace.log_prob_sum(), total)


@pytest.mark.parametrize("kind", [ss.DeepKalmanFilter, ss.VRNN, ss.SRNN, ss.LSTMStateSpace])
def test_deep_models_bring_their_guides(kind):
    """Memories that read y, z or both: the bound is log p(z, y) - log q(z), to 1e-10."""
    m = kind(2, 1, hidden_dim=4, seed=0, dtype=F64)
    y = torch.sin(torch.arange(18.0, dtype=F64)).reshape(3, 6, 1)
    guide, program = ss.pyro.guide(m), ss.pyro.model(m)
    pyro.set_rng_seed(3)
    bound = -Trace_ELBO().loss(program, guide, y)
    pyro.set_rng_seed(3)
    q = traced(guide, y)
    joint = m.log_joint(states(q, 6, -2), y).sum()
    assert bound == pytest.approx(float((joint - q.log_prob_sum()).detach()), abs=1e-10)


def test_svi_raises_the_bound():
    """Two hundred updates of model and guide together."""
    m = Guided()
    u = inputs(20, 6)
    y = m.sample(6, inputs=u, seed=1).y.detach()
    svi = SVI(ss.pyro.model(m), ss.pyro.guide(m), pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO())
    losses = [svi.step(y, u) for _ in range(200)]
    assert sum(losses[-20:]) < sum(losses[:20]) - 20 * 5


# ------------------------------------------------------------------ an LDS as a distribution


def test_log_prob_is_the_kalman_filters():
    """Over a batch with gaps and inputs, and with another sample axis on the left."""
    m = ss.LDS(2, 1, 1, seed=0)
    u = torch.randn(3, 8, 1, dtype=F64)
    y = m.sample(8, inputs=u, seed=1).y.detach()
    y[0, 2] = math.nan
    d = ss.pyro.distribution(m, 8, u)
    assert d.batch_shape == (3,)
    assert d.event_shape == (8, 1)
    assert_close(d.log_prob(y), m.log_likelihood(y, u))
    assert_close(d.expand((5, 3)).log_prob(y), m.log_likelihood(y, u).expand(5, 3))
    assert d.sample((4,)).shape == (4, 3, 8, 1)
    assert d.expand((5, 3)).sample().shape == (5, 3, 8, 1)


def test_a_parameter_of_the_program_gets_its_gradient():
    """Through the filter, as a finite difference has it."""
    y = ss.datasets.nile()[:30]

    def value(q):
        m = level(ss.Fixed(q[None, None]), [[15099.0]])
        return ss.pyro.distribution(m, 30).log_prob(y)

    q = torch.tensor(1469.0, dtype=F64, requires_grad=True)
    value(q).backward()
    step = 1e-2
    slope = float((value(q.detach() + step) - value(q.detach() - step)).detach()) / (2 * step)
    assert float(q.grad) == pytest.approx(slope, rel=1e-6)


def test_inside_a_plate_with_a_prior():
    """Twenty series share a variance that has a prior; the trace is prior plus likelihood."""
    y = level([[0.3]], [[1.0]]).sample(12, (20,), seed=0).y.detach()

    def program(y):
        q = pyro.sample("q", dist.LogNormal(torch.tensor(0.0, dtype=F64), 1.0))
        m = level(ss.Fixed(q[None, None]), [[1.0]])
        with pyro.plate("series", 20):
            pyro.sample("y", ss.pyro.distribution(m, 12), obs=y)

    trace = traced(pyro.condition(program, {"q": torch.tensor(0.3, dtype=F64)}), y)
    m = level([[0.3]], [[1.0]])
    prior = dist.LogNormal(torch.tensor(0.0, dtype=F64), 1.0).log_prob(torch.tensor(0.3).double())
    assert_close(trace.log_prob_sum(), prior + m.log_likelihood(y).sum())


def test_a_leap_too_far_is_refused():
    """Where a variance overflows the potential is NaN, which NUTS rejects, and no error."""

    def potential(z):
        q = z["log q"].exp()
        return -ss.pyro.distribution(level(ss.Fixed(q[None, None]), [[1.0]]), 3).log_prob(y)

    y = torch.zeros(3, 1, dtype=F64)
    grads, value = potential_grad(potential, {"log q": torch.tensor(1e4, dtype=F64)})
    assert math.isnan(float(value))
    assert float(grads["log q"]) == 0.0
    assert math.isfinite(potential_grad(potential, {"log q": torch.tensor(0.0, dtype=F64)})[1])


# ------------------------------------------------------------------ wrong input


def test_refusals():
    m = ss.LDS(1, 1, seed=0)
    recurrent = MODELS[READ_Y[0]]()
    y = torch.zeros(3, recurrent.obs_dim, dtype=F64)
    y[1] = math.nan
    with pytest.raises(InputError, match="memory reads"):
        ss.pyro.model(recurrent)(y, inputs(3))
    with pytest.raises(InputError, match="`num_steps`"):
        ss.pyro.model(m)()
    with pytest.raises(InputTypeError, match="carries a guide"):
        ss.pyro.guide(m)
    with pytest.raises(InputTypeError, match="Real or Finite"):
        ss.pyro.model(Switch())
    with pytest.raises(InputTypeError, match="`m`: expected a model, received int"):
        ss.pyro.model(3)
    with pytest.raises(InputTypeError, match="linear-Gaussian"):
        ss.pyro.distribution(ss.NoisyRNN(1, 1, seed=0), 3)
    with pytest.raises(InputError, match="`num_steps`"):
        ss.pyro.distribution(m, 0)
    with pytest.raises(InputError, match="`inputs`"):
        ss.pyro.distribution(ss.LDS(1, 1, 2, seed=0), 3, torch.zeros(4, 2))
    free = torch.zeros(3, 1, dtype=F64, requires_grad=True)
    with pytest.raises(InputError, match="without a gradient"):
        ss.pyro.distribution(m, 3).log_prob(free)


def test_nothing_of_torch_is_left_changed():
    before = torch.get_default_dtype()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        traced(ss.pyro.model(ss.LDS(1, 1, seed=0)), torch.zeros(3, 1, dtype=F64))
    assert torch.get_default_dtype() == before
