"""Names of arguments, and classes that are abstract or final."""

import pytest
import torch
from contract.tiny import (
    F64,
    Cell,
    Defaults,
    Plain,
    Recurrent,
    ragged_case,
)

from statespace.check import check_model
from statespace.comparison import compare
from statespace.errors import InputTypeError
from statespace.inference import ParticleFilter
from statespace.interface import (
    NoPath,
    Real,
    StateSpaceModel,
)


@pytest.fixture
def case():
    model = Plain()
    y, u, _ = ragged_case(model)
    return model, y, u


@pytest.mark.parametrize(
    ("call", "word", "near"),
    [
        (lambda m, y, u: m.filter(y, input=u), "input", "inputs"),
        (lambda m, y, u: m.smooth(y, u, maks=None), "maks", "mask"),
        (lambda m, y, u: m.log_likelihood(y, u, sede=1), "sede", "seed"),
        (lambda m, y, u: m.score(y, u, metod=None), "metod", "method"),
        (lambda m, y, u: m.forecast(y, horizn=1, inputs=u), "horizn", "horizon"),
        (lambda m, y, u: m.sample(3, shape=(2,)), "shape", "sample_shape"),
        (lambda m, y, u: m.log_joint(y, y, u, lenghts=None), "lenghts", "lengths"),
        (lambda m, y, u: m.start(batchshape=(3,)), "batchshape", "batch_shape"),
        (lambda m, y, u: m.step(None, None, ut=None), "ut", "u_t"),
        (lambda m, y, u: m.fit(y, u, lerner=None), "lerner", "learner"),
        (lambda m, y, u: ParticleFilter(num_particle=3), "num_particle", "num_particles"),
        (lambda m, y, u: Plain(latent=3), "latent", None),
        (lambda m, y, u: compare([m], y, y, input=u), "input", "inputs"),
        (lambda m, y, u: check_model(m, steps=3), "steps", "num_steps"),
    ],
)
def test_an_unknown_keyword_is_refused_by_name(case, call, word, near):
    """Every verb and every constructor, in one sentence that names the nearest known word."""
    with pytest.raises(InputTypeError, match=f"`{word}`: expected one of the arguments of") as e:
        call(*case)
    if near is not None:
        assert f"Did you mean `{near}`?" in str(e.value)


def test_too_many_positions_and_missing_ones(case):
    """Python's own errors, as sentences of the library."""
    model, y, u = case
    with pytest.raises(InputTypeError, match="at most these positional arguments: y, inputs"):
        model.filter(y, u, None)
    with pytest.raises(InputTypeError, match="`horizon`: expected a value for forecast"):
        model.forecast(y)
    with pytest.raises(InputTypeError, match="`num_steps`"):
        model.sample()


def test_a_verb_is_final():
    """A subclass that overrides one is refused when it is defined."""
    with pytest.raises(TypeError, match=r"Mine overrides filter\(\), which is final"):

        class Mine(Plain):
            def filter(self, y):
                return y


def _broken(**changes):
    class Broken(Recurrent):
        def __init__(self):
            super().__init__()
            for name, value in changes.items():
                if value is None:
                    delattr(self, name)
                else:
                    setattr(self, name, value)

    return Broken


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"latent": None}, "does not set `latent`"),
        ({"obs_dim": None}, "does not set `obs_dim`"),
        ({"reads": frozenset({"x"})}, "it may hold"),
        ({"reads": frozenset()}, "set both or none"),
        ({"path": NoPath()}, "set both or none"),
        ({"order": "h and z"}, "order"),
    ],
)
def test_a_contradiction_is_found_when_the_model_is_made(changes, sentence):
    """What a model declares about itself is checked once, at birth."""
    with pytest.raises(TypeError, match=sentence):
        _broken(**changes)()


def test_a_memory_needs_a_feed():
    """The third half of the same rule."""

    class Mute(Defaults, StateSpaceModel):
        reads = frozenset({"u"})

        def __init__(self):
            super().__init__()
            self.latent, self.obs_dim, self.input_dim = Real(1), 1, 1
            self.path = Cell(1, 1, False, seed=1)

        initial = transition = emission = Plain.initial

    with pytest.raises(TypeError, match=r"defines no feed\(\)"):
        Mute()


def test_dtype_and_device_are_those_of_the_numbers():
    """float64 where there are none."""
    assert Plain().dtype == F64
    assert Plain().float().dtype == torch.float32
    assert Plain().device == torch.device("cpu")
    assert Plain().num_params == 4 + 2 + 4 + 2 + 4 + 4 + 2
