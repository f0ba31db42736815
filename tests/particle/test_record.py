"""What the record of a filter says of its particles: sizes, ancestors, points, and lost weights."""

import pytest
import torch
from particle.linear import ragged, small
from torch.distributions import Independent, Normal, Uniform
from torch.testing import assert_close

import statespace as ss
from statespace.errors import FieldError
from statespace.interface import Real, StateSpaceModel

F64 = torch.float64


class Bounded(StateSpaceModel):
    """A walk seen with an error of at most `width`: a jump of y contradicts every particle."""

    def __init__(self) -> None:
        super().__init__()
        self.latent, self.obs_dim = Real(1), 1
        self.width = torch.nn.Parameter(torch.tensor(1.0, dtype=F64))
        self.step_size = torch.nn.Parameter(torch.tensor(0.3, dtype=F64))

    def initial(self, ctx):
        return Independent(Normal(torch.zeros(1, dtype=F64), self.step_size), 1)

    def transition(self, z, ctx):
        return Independent(Normal(z, self.step_size), 1)

    def emission(self, z, ctx):
        return Independent(Uniform(z - self.width, z + self.width, validate_args=False), 1)

    def default_method(self):
        return ss.ParticleFilter(50)

    def default_learner(self):
        raise NotImplementedError


def contradicted():
    """Series 1 of three jumps at row 2 and stays there."""
    y = torch.zeros(3, 5, 1, dtype=F64)
    y[1, 2:] = 50.0
    return y


@pytest.mark.parametrize("proposal", ["bootstrap", "auxiliary"])
@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
def test_all_weights_lost_is_minus_infinity_and_the_row(threshold, proposal):
    """-inf at that row of that series, finite numbers everywhere else, no NaN anywhere."""
    model, method = Bounded(), ss.ParticleFilter(50, proposal, threshold=threshold)
    f = model.filter(contradicted(), method=method, seed=0)
    assert f.lost.tolist() == [-1, 2, -1]
    assert f.log_likelihood[1] == -torch.inf
    assert f.increments[1, 2] == -torch.inf
    for name in ("mean", "cov", "predicted_mean", "predicted_cov", "ess", "particles"):
        assert bool(torch.isfinite(getattr(f, name)).all()), name
    assert bool(torch.isfinite(f.increments[0]).all() & torch.isfinite(f.increments[2]).all())
    assert [int(one.lost) for one in f] == [-1, 2, -1]
    with torch.no_grad():
        alone = model.log_likelihood(contradicted(), method=method, seed=0)
    assert alone[1] == -torch.inf
    assert bool(torch.isfinite(alone[[0, 2]]).all())


@pytest.mark.parametrize("smoother", ["ffbs", "genealogy"])
def test_smoothing_after_all_weights_were_lost(smoother):
    """The others are smoothed; the one says which row contradicts it."""
    s = Bounded().smooth(contradicted(), method=ss.ParticleFilter(50, smoother=smoother), seed=0)
    assert s.extra["lost"].tolist() == [-1, 2, -1]
    assert s.log_likelihood[1] == -torch.inf
    assert bool(torch.isfinite(s.mean).all() & torch.isfinite(s.cov).all())


def test_the_gradient_of_what_was_lost_is_zero():
    """Nothing of a series that is -inf reaches the gradient of the others, NaN least of all."""
    model, y = Bounded(), contradicted()
    value = model.log_likelihood(y, method=ss.ParticleFilter(50), seed=0)
    value[[0, 2]].sum().backward()
    wanted = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    value = model.log_likelihood(y, method=ss.ParticleFilter(50), seed=0)
    value.sum().backward()
    for p, other in zip(model.parameters(), wanted, strict=True):
        assert bool(torch.isfinite(p.grad).all())
        assert_close(other, other)


def test_step_by_step_and_at_once_lose_at_the_same_row():
    """An Info of -inf, and a state that goes on."""
    model, y = Bounded(), contradicted()
    state = model.start((3,), seed=0)
    increments = []
    for t in range(5):
        state, info = model.step(state, y[:, t])
        increments.append(info.increment)
    assert torch.equal(torch.stack(increments, -1), model.filter(y, seed=0).increments)


def test_sizes_ancestors_and_points():
    """They are those of the steps, and blank where a series is over."""
    model = small()
    y, u, lengths = ragged(model)
    method = ss.ParticleFilter(40, threshold=0.7)
    f = model.filter(y, u, lengths=lengths, method=method, seed=2)
    assert f.ancestors.shape == (3, 7, 40)
    assert f.particles.shape == (3, 7, 40, 2)
    state = model.start((3,), method=method, seed=2)
    for t in range(2):  # as long as all series go on
        state, info = model.step(state, y[:, t], u[:, t])
        belief = state.belief
        assert_close(f.ess[:, t], 1 / belief.weights.square().sum(0))
        assert_close(info.extra["ess"], f.ess[:, t])
        assert torch.equal(f.ancestors[:, t].long(), info.extra["ancestors"].T)
        assert_close(f.particles[:, t], belief.z.movedim(0, 1))
    assert bool((f.ancestors[2, 2:] == -1).all() & f.ess[2, 2:].isnan().all())
    assert f.lost.tolist() == [-1, -1, -1]
    one = list(f)[1]
    assert one.ancestors.shape == (5, 40)
    assert bool((one.ancestors >= 0).all())


def test_a_record_of_means_holds_no_particles():
    """Nor does one of the last row hold those of the others; sizes are there."""
    model = small()
    y, u, _ = ragged(model)
    whole, means, last = (
        model.filter(y, u, method=ss.ParticleFilter(30), seed=1, keep=keep)
        for keep in ("all", "means", "last")
    )
    assert torch.equal(whole.ess, means.ess)
    assert torch.equal(whole.ess[:, -1:], last.ess)
    assert_close(whole.mean, means.mean)
    assert torch.equal(whole.log_likelihood, last.log_likelihood)
    for name in ("ancestors", "particles"):
        with pytest.raises(FieldError, match=name):
            getattr(means, name)
    kalman = model.filter(y, u)
    assert kalman.ess is kalman.ancestors is kalman.particles is kalman.lost is None


def test_too_many_particles_are_not_held(monkeypatch):
    """Moments are there, points are not, and the figure says what to do."""
    monkeypatch.setattr("statespace.inference.particle.record._MOST", 100)
    model = small()
    y, u, _ = ragged(model)
    f = model.filter(y, u, method=ss.ParticleFilter(30), seed=1)
    assert f.ancestors is None
    assert f.particles is None
    assert f.mean.shape == (3, 7, 2)
