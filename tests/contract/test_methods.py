"""Methods, learners, and a model that is as it was after a failure."""

import pytest
import torch
from contract.stand_ins import Hindsight
from contract.tiny import (
    F64,
    Discrete,
    Plain,
    ragged_case,
)
from torch import nn

from statespace.errors import InputError, InputTypeError, MethodError, StorageError
from statespace.inference import Kalman, ParticleFilter
from statespace.interface import (
    Learner,
    unchanged_on_failure,
)
from statespace.results import FitResult


@pytest.fixture
def case():
    model = Plain()
    y, u, _ = ragged_case(model)
    return model, y, u


def test_who_cannot_says_who_can(case):
    """A method of another family, a method that looks ahead, and what is no method."""
    model, y, u = case
    with pytest.raises(MethodError, match=r"Kalman serves LinearGaussian.*ParticleFilter"):
        model.filter(y, u, method=Kalman())
    with pytest.raises(MethodError, match=r"filter\(\) never looks ahead.*ParticleFilter"):
        model.filter(y, u, method=Hindsight())
    with pytest.raises(MethodError, match=r"forecast\(\) never looks ahead"):
        model.forecast(y, horizon=1, inputs=torch.cat([u, u[:, :1]], 1), method=Hindsight())
    with pytest.raises(MethodError, match=r"start\(\) never looks ahead"):
        model.start((3,), method=Hindsight())
    for wrong in ("kalman", Kalman, 3):
        with pytest.raises(InputTypeError, match="`method`: expected a Method"):
            model.filter(y, u, method=wrong)
    score = model.score(y, u, method=Hindsight(), seed=0)
    assert score.kind == "lower bound"
    with pytest.raises(MethodError, match="serves Plain"):
        Discrete().log_likelihood(y, u, method=Hindsight())


def test_methods_are_values():
    """Equal if of one class with equal settings."""
    assert Kalman() == Kalman()
    assert ParticleFilter(10) == ParticleFilter(10)
    assert ParticleFilter(10) != ParticleFilter(11)
    assert Kalman() != ParticleFilter()
    assert len({Kalman(), Kalman(), ParticleFilter(3), ParticleFilter(3)}) == 2
    assert repr(ParticleFilter(10)).startswith("ParticleFilter(num_particles=10, proposal=")


class Ruin(Learner):
    """Changes everything that it can and then fails, or does not."""

    def __init__(self, fail=True):
        self.fail = fail

    def refusal(self, model, data, method):
        return "only plain models" if not isinstance(model, Plain) else None

    def fit(self, model, data, method, generator, validation=None, progress=None):
        with torch.no_grad():
            model.A.add_(torch.rand(2, 2))
            model.B = nn.Parameter(torch.zeros(2, 1, dtype=F64))
            model.m_0.requires_grad_(False)
        model.notes["fitted"] = True
        model.extra = 3
        model.child.weight.data.zero_()
        if self.fail:
            raise ZeroDivisionError
        return FitResult(
            model,
            True,
            "it said so",
            (1.0,),
            1.0,
            num_params=1,
            n_values=int(data.n_values.sum()),
            seed=-7,
        )


class Noted(Plain):
    def __init__(self):
        super().__init__()
        self.notes = {}
        self.child = nn.Linear(2, 2)
        self.register_buffer("counts", torch.zeros(3))


def test_fit_leaves_the_model_unchanged_on_failure(case):
    """Numbers, identity of parameters, flags, attributes, submodules."""
    _, y, u = case
    model = Noted()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    same = dict(model.named_parameters())
    with pytest.raises(ZeroDivisionError):
        model.fit(y, u, learner=Ruin())
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(same[k] is v for k, v in model.named_parameters())
    assert model.m_0.requires_grad
    assert model.notes == {}
    assert "extra" not in model.__dict__
    model.filter(y, u, seed=0)


def test_fit_hands_back_what_the_learner_found(case):
    """The seed that was used, and the model itself; it is changed in place."""
    _, y, u = case
    model = Noted()
    found = model.fit(y, u, learner=Ruin(fail=False), seed=11, validation=(y, u))
    assert found.seed == 11
    assert found.model is model
    assert model.notes == {"fitted": True}
    one, two = Noted(), Noted()
    for m in (one, two):
        m.fit(y, u, learner=Ruin(fail=False), seed=5)
    assert torch.equal(one.A, two.A)


def test_fit_refuses_before_it_touches_anything(case):
    """A learner that cannot, what is no learner, a validation without its inputs."""
    model, y, u = case
    with pytest.raises(MethodError, match="only plain models"):
        Discrete().fit(y, u, learner=Ruin())
    with pytest.raises(InputTypeError, match="`learner`: expected a Learner"):
        model.fit(y, u, learner="em")
    with pytest.raises(InputError, match="`inputs`"):
        model.fit(y, u, learner=Ruin(), validation=y)
    with pytest.raises(InputTypeError, match="`validation`"):
        model.fit(y, u, learner=Ruin(), validation=(y, u, u))


def test_unchanged_on_interrupt():
    """An interrupt is a failure too."""
    model = Noted()

    def interrupted():
        with unchanged_on_failure(model), torch.no_grad():
            model.A.zero_()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert float(model.A.detach().abs().sum()) > 0


def test_a_model_that_cannot_be_stored_says_so(tmp_path):
    with pytest.raises(StorageError):
        Plain().save(tmp_path / "model")
