"""The verbs: written once, final, and right about seeds, states, names and failures."""

import threading

import pytest
import torch
from contract.tiny import (
    F64,
    MODELS,
    Cell,
    Defaults,
    Discrete,
    Plain,
    Recurrent,
    Switch,
    inputs,
    ragged_case,
)
from torch import nn
from torch.testing import assert_close

from statespace.beliefs import real_part
from statespace.errors import InputError, InputTypeError, MethodError, StorageError
from statespace.gaussian import AffineConditional, Gaussian
from statespace.inference import Kalman, ParticleFilter
from statespace.interface import (
    Given,
    Learner,
    LinearGaussian,
    Method,
    NoPath,
    Real,
    StateSpaceModel,
    lend,
    seeded,
    unchanged_on_failure,
)
from statespace.linalg import Covariance
from statespace.results import FitResult


@pytest.fixture
def case():
    model = Plain()
    y, u, _ = ragged_case(model)
    return model, y, u


# ---------------------------------------------------------------- names of arguments


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


# ---------------------------------------------------------------- abstract or final


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


# ---------------------------------------------------------------- seeds


def test_lending_restores_on_failure():
    """torch's generator is what it was, and ours has moved on, although the block failed."""
    mine, _ = seeded(3, "cpu")
    start = mine.get_state()
    before = torch.get_rng_state()

    def fail():
        with lend(mine):
            torch.rand(3)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(start, mine.get_state())


def test_lending_is_one_stream():
    """Draws with and without generator= come from one stream, and lending again is no restart."""
    mine, _ = seeded(3, "cpu")
    with lend(mine) as lent:
        a, b = torch.rand(()), torch.rand((), generator=lent)
        with lend(lent):
            c = torch.rand(())
    d = torch.rand((), generator=mine)
    again = torch.rand(4, generator=seeded(3, "cpu")[0])
    assert torch.stack([a, b, c, d]).tolist() == again.tolist()


def test_a_verb_that_fails_leaves_torchs_generator_alone(case):
    """Also where the density raises in the middle of a scan."""
    _, y, u = case

    class Failing(Plain):
        def emission(self, z, ctx):
            if ctx.t == 3:
                raise ZeroDivisionError
            return super().emission(z, ctx)

    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError):
        Failing().filter(y, u)
    assert torch.equal(before, torch.get_rng_state())


def test_one_thread_lends_at_a_time(case):
    """Two threads with one seed each get the numbers that they get alone."""
    model, y, u = case
    alone = [model.filter(y, u, seed=s).log_likelihood for s in range(4)]
    found = [None] * 4

    def work(s):
        found[s] = model.filter(y, u, seed=s).log_likelihood

    threads = [threading.Thread(target=work, args=(s,)) for s in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(a, b) for a, b in zip(alone, found, strict=True))


def test_a_fresh_seed_is_recorded(case):
    """Without seed= the numbers are new each time, and the record says how to get them again."""
    model, y, u = case
    one, two = model.sample(3, inputs=u[:, :3]), model.sample(3, inputs=u[:, :3])
    assert one.seed != two.seed
    assert torch.equal(model.sample(3, inputs=u[:, :3], seed=one.seed).y, one.y)
    f = model.filter(y, u)
    again = model.filter(y, u, seed=f.state.generator.initial_seed())
    assert torch.equal(f.log_likelihood, again.log_likelihood)


@pytest.mark.parametrize(
    ("seed", "error"),
    [
        ("1", InputTypeError),
        (1.0, InputTypeError),
        (True, InputTypeError),
        (-1, InputError),
        (2**64, InputError),
    ],
)
def test_a_seed_is_a_whole_number(case, seed, error):
    model, y, u = case
    with pytest.raises(error, match="`seed`"):
        model.filter(y, u, seed=seed)


# ---------------------------------------------------------------- states


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


# ---------------------------------------------------------------- methods and learners


class Hindsight(Method):
    """Needs the whole series."""

    serves = Plain

    def kind(self, model, data):
        return "lower bound"

    def log_likelihood(self, model, data, generator, state=None):
        return model.m_0.sum() + torch.rand(data.batch_shape, dtype=F64)

    def smooth(self, model, data, generator, state=None):
        raise NotImplementedError


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


# ---------------------------------------------------------------- families


class Lines(Defaults, LinearGaussian):
    """The plain model as a linear-Gaussian one: same numbers, other words."""

    def __init__(self, plain, varying=False):
        super().__init__()
        self.latent, self.obs_dim, self.input_dim = Real(2), 2, 1
        self.plain, self.varying = plain, varying

    def prior(self, ctx):
        return Gaussian(self.plain.m_0, Covariance.from_root(self.plain.root_q))

    def _channel(self, weight, effect, root, ctx):
        varies = {"bias"} if ctx.over_time else set()
        noise = Covariance.from_root(root)
        if self.varying and ctx.over_time:
            rows = ctx.t.shape[0]
            weight = weight.expand(rows, *weight.shape)
            noise = noise.map(lambda x: x.expand(rows, *x.shape))
            varies |= {"weight", "noise"}
        return AffineConditional(weight, ctx.u @ effect.mT, noise, frozenset(varies))

    def dynamics(self, ctx):
        return self._channel(self.plain.A, self.plain.B, self.plain.root_q, ctx)

    def readout(self, ctx):
        return self._channel(self.plain.C, self.plain.D, self.plain.root_r, ctx)


@pytest.mark.parametrize("varying", [False, True])
def test_linear_gaussian_derives_its_densities(case, varying):
    """The joint and the particle filter are those of the same model in other words."""
    plain, y, u = case
    lines = Lines(plain, varying)
    z = plain.sample(5, sample_shape=(4,), inputs=u, seed=1).z
    with torch.no_grad():
        assert_close(lines.log_joint(z, y, u), plain.log_joint(z, y, u))
        a = lines.log_likelihood(y, u, method=Kalman())
    b = lines.score(y, u, method=ParticleFilter(3000), seed=0)
    assert abs(b.value - float(a.sum())) < 6 * b.stderr + 0.02


def test_a_batch_of_models(case):
    """Parameters with leading axes: each model on the same series, in the joint too."""
    plain, y, u = case

    class Several(Lines):
        @property
        def batch_shape(self):
            return torch.Size([3])

        def dynamics(self, ctx):
            scale = torch.tensor([0.5, 1.0, 1.5], dtype=F64)[:, None, None]
            found = super().dynamics(ctx)
            return AffineConditional(scale * found.weight, found.bias, found.noise, found.varies)

    several = Several(plain)
    z = plain.sample(5, inputs=u, seed=1).z
    with torch.no_grad():
        got = several.log_joint(z, y, u)
        one = several.log_joint(z[:1].expand(3, 5, 2), y[0], u[0])
    assert_close(got[1], plain.log_joint(z, y, u).detach()[1])
    assert one.shape == (3,)
    assert len(set(one.tolist())) == 3
    assert several.filter(y[0], u[0], seed=0).mean.shape == (3, 5, 2)
    assert several.sample(5, inputs=u[0], seed=0).y.shape == (3, 5, 2)
    with pytest.raises(InputError, match="broadcast with the model's"):
        several.filter(torch.zeros(2, 5, 2), u[:2])


def test_a_diffuse_start_has_no_density(case):
    """And the sentence names the method that integrates it out."""
    plain, _, u = case

    class Diffuse(Lines):
        def prior(self, ctx):
            found = super().prior(ctx)
            return Gaussian(found.mean, found.covariance, torch.tensor([True, False]))

    with pytest.raises(MethodError, match=r"diffuse initial state.*Kalman"):
        Diffuse(plain).sample(3, inputs=u[:, :3])


@pytest.mark.parametrize("name", ["switch"])
def test_given_its_switches_a_switching_model_is_one_of_x(name):
    """log p(x, y given k) = log p(z, y) - log p(k), over all of time and for many paths at once."""
    model = MODELS[name]()
    y, u, _ = ragged_case(model)
    z = model.sample(5, sample_shape=(4,), inputs=u, seed=1).z
    given = Given(model, z.k)
    with torch.no_grad():
        log_k = model.W[0].log_softmax(-1)[z.k[..., 0]]
        for t in range(1, 5):
            rows = (model.W[z.k[..., t - 1]] + u[:, t] @ model.U.mT).log_softmax(-1)
            log_k = log_k + rows.gather(-1, z.k[..., t, None])[..., 0]
        assert_close(given.log_joint(z.x, y, u) + log_k, model.log_joint(z, y, u))
    one = Given(model, z.k[0])
    assert one.filter(y, u, seed=0).mean.shape == (3, 5, 1)
    assert real_part(one.latent, one.sample(5, inputs=u, seed=0).z).shape == (3, 5, 1)


def test_float32_works(case):
    """No dtype leaks: a model of single precision answers in it."""
    model = Plain().float()
    _, y, u = case
    f = model.filter(y, u, seed=0)
    assert f.mean.dtype == f.log_likelihood.dtype == f.y_cov.dtype == torch.float32
    assert model.smooth(y, u, seed=0).mean.dtype == torch.float32
    assert model.sample(3, inputs=u[:, :3], seed=0).y.dtype == torch.float32
    fc = model.forecast(y, horizon=1, inputs=torch.cat([u, u[:, :1]], 1), seed=0)
    assert fc.mean.dtype == fc.samples.dtype == torch.float32
