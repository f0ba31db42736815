"""States, shapes and conditions: what a verb continues from and what it keeps."""

import pickle

import pytest
import torch
from contract.tiny import (
    F64,
    Plain,
    Recurrent,
    Switch,
    inputs,
    ragged_case,
)
from torch.testing import assert_close

from statespace.errors import InputError, InputTypeError, MethodError
from statespace.inference import ParticleFilter
from statespace.models import LDS


@pytest.fixture
def case():
    model = Plain()
    y, u, _ = ragged_case(model)
    return model, y, u


def test_a_state_knows_whose_it_is(case):
    """Of another model, another method or another batch: refused, and nothing else is."""
    model, y, u = case
    state = model.filter(y, u, seed=0).state
    with pytest.raises(InputError, match="`state`: expected a state of Recurrent"):
        Recurrent().filter(y, u, state=state)
    with pytest.raises(InputError, match=r"expected a state of ParticleFilter\(num_particles=9"):
        model.filter(y, u, state=state, method=ParticleFilter(9))
    with pytest.raises(InputError, match="the batch"):
        model.filter(y[0], u[0], state=state)
    for wrong in (7, y, "state"):
        with pytest.raises(InputTypeError, match="`state`: expected a State"):
            model.filter(y, u, state=wrong)
        with pytest.raises(InputTypeError, match="`state`: expected a State"):
            model.step(wrong, y[:, 0], u[:, 0])
        with pytest.raises(InputTypeError, match="`state`: expected a State"):
            model.forecast(horizon=1, state=wrong)
    same = model.filter(y, u, state=state, method=ParticleFilter(200))  # equal settings
    assert same.state.t == 10
    assert Plain().filter(y, u, state=state).state.t == 10  # a model loaded again, say


def test_states_print_in_one_line():
    """What a person wants to know of them, and no tensors."""
    lds = LDS(1, 1, seed=0)
    state, info = lds.step(lds.start(), [1.0])
    whose = f"{lds.default_method()!r}, LDS(latent={lds.latent!r}, obs_dim=1, input_dim=0)"
    assert repr(state) == f"State(t=1, {whose}, batch=())"
    assert repr(info).endswith("batch=())")
    assert "tensor" not in repr(info) + repr(lds.start((2,)))


def test_a_diffuse_start_has_nothing_to_draw_from_but_its_states_have():
    """The refusal names the way out, and the way is one."""
    level = LDS.local_level().replace(Q=[[1.0]], R=[[1.0]])
    with pytest.raises(MethodError, match="or give state= to go on from data"):
        level.sample(3, seed=0)
    state = level.filter([1.0, 2.0]).state
    assert level.sample(3, state=state, seed=0).y.shape == (3, 1)


def test_inputs_after_a_state_are_counted_in_the_words_of_the_verb():
    """forecast speaks of its horizon, sample of num_steps; neither asks for rows of the past."""
    lds = LDS(1, 1, 1, seed=0)
    state = lds.start()
    with pytest.raises(InputError, match=r"4 rows \(horizon\).*one row per step\.$"):
        lds.forecast(horizon=4, state=state, inputs=[1.0])
    with pytest.raises(InputError, match=r"4 rows \(num_steps\).*one row per step\.$"):
        lds.sample(4, state=state, inputs=[1.0], seed=0)


def test_a_state_is_a_value(case):
    """Filtering on from it leaves it as it was, so that it gives the same numbers again."""
    model, y, u = case
    state = model.filter(y, u, seed=0).state
    one, two = (model.filter(y, u, state=state).log_likelihood for _ in range(2))
    assert torch.equal(one, two)
    other = model.filter(y, u, state=state, seed=9).log_likelihood
    assert not torch.equal(one, other)


def test_forecast_needs_a_beginning(case):
    """Neither y nor state=, and what makes no sense beside a state alone."""
    model, y, u = case
    with pytest.raises(InputError, match="a series, or state="):
        model.forecast(horizon=2, inputs=u)
    state = model.filter(y, u, seed=0).state
    with pytest.raises(InputError, match="`mask`"):
        model.forecast(horizon=2, inputs=u[:, :2], state=state, mask=y > 0)
    with pytest.raises(InputError, match="`inputs`"):
        model.forecast(horizon=2, inputs=u, state=state)
    with pytest.raises(InputError, match="`inputs`"):
        model.forecast(y, horizon=2, inputs=u)
    for horizon, error in (
        (0, InputError),
        (-1, InputError),
        (1.5, InputTypeError),
        (True, InputTypeError),
    ):
        with pytest.raises(error, match="`horizon`"):
            model.forecast(y, horizon=horizon, inputs=u)
    with pytest.raises(InputError, match="`num_samples`"):
        model.forecast(horizon=2, inputs=u[:, :2], state=state, num_samples=0)


def test_ranks_are_kept():
    """One series in, one series out; no feature axis in, none out."""
    model = Switch()
    y, u, _ = ragged_case(model, missing=False)
    f = model.filter(y[0], u[0], seed=0)
    assert f.mean.shape == (5, 1)
    assert f.log_likelihood.shape == ()
    flat = model.filter(y[0, :, 0], u[0], seed=0)
    assert flat.y_mean.shape == (5,)
    assert torch.equal(flat.log_likelihood, f.log_likelihood)
    fc = model.forecast(y[0, :, 0], horizon=2, inputs=torch.cat([u[0], u[0, :2]]), seed=0)
    assert fc.mean.shape == (2,)
    assert fc.samples.shape == (200, 2)
    assert fc.z_probs.shape == (2, 2)
    assert model.sample(4, inputs=u[0, :4], seed=0).y.shape == (4, 1)


def test_sample_shapes():
    """Sample axes left of the batch axes, which come with the inputs."""
    model = Recurrent()
    u = inputs(3, 5)
    assert model.sample(5, (2, 4), u, seed=0).z.shape == (2, 4, 3, 5, 1)
    assert model.sample(5, 2, u, seed=0).y.shape == (2, 3, 5, 2)
    assert model.sample(5, inputs=u[0], seed=0).y.shape == (5, 2)
    assert model.sample(5, inputs=u.numpy(), seed=0).y.shape == (3, 5, 2)
    with pytest.raises(InputError, match="`inputs`"):
        model.sample(5, seed=0)
    with pytest.raises(InputError, match="`inputs`"):
        model.sample(4, inputs=u, seed=0)
    with pytest.raises(InputError, match="`num_steps`"):
        model.sample(0, inputs=u)


def test_a_condition_starts_the_memory():
    """One per series: in the likelihood, in samples and online."""
    model = Recurrent()
    y, u, _ = ragged_case(model, missing=False)
    c = torch.tensor([[0.0, 0.0], [1.0, -1.0], [3.0, 3.0]], dtype=F64)
    z = model.sample(5, inputs=u, seed=1).z
    with torch.no_grad():
        got = model.log_joint(z, y, u, condition=c)
        for i in range(3):
            one = model.log_joint(z[i], y[i], u[i], condition=c[i])
            assert_close(got[i], one)
        assert not torch.equal(got[2], model.log_joint(z, y, u)[2])
    assert model.sample(4, condition=c, inputs=u[:, :4], seed=0).y.shape == (3, 4, 2)
    assert model.sample(4, condition=c, inputs=u[0, :4], seed=0).y.shape == (3, 4, 2)
    state = model.start((3,), condition=c, seed=0)
    whole = model.filter(y, u, condition=c, seed=0)
    for t in range(5):
        state, _ = model.step(state, y[:, t], u[:, t])
    assert torch.equal(state.belief.log_weights, whole.state.belief.log_weights)


def test_a_state_can_be_kept(case):
    """Pickled and read back it goes on to the bit, random numbers included."""
    model, y, u = case
    state = model.filter(y, u, seed=0).state
    again = pickle.loads(pickle.dumps(state))
    one, two = (model.filter(y, u, state=s) for s in (state, again))
    assert torch.equal(one.increments, two.increments)
