"""Training that a person can live with: records, validation, collapse, trouble, checkpoints."""

from __future__ import annotations

import math

import pytest
import torch

import statespace as ss
from statespace.errors import InputError, InputTypeError, NumericalError, StorageError
from statespace.inference.variational.monitor import divergence
from statespace.inference.variational.terms import in_closed_form, terms_of
from statespace.inference.variational.trace import draw
from statespace.interface import Real, StateSpaceModel
from statespace.sequences import read_sequences

Y = torch.randn(8, 12, 1, generator=torch.Generator().manual_seed(0)).double().cumsum(-2)
MODELS = ["DeepKalmanFilter", "LSTMStateSpace", "VRNN", "SRNN"]


def deep(name: str = "VRNN", **options) -> StateSpaceModel:
    return getattr(ss, name)(2, 1, hidden_dim=6, dtype=torch.float64, seed=0, **options)


@pytest.mark.parametrize("name", MODELS)
def test_records_say_where_training_stood(name):
    fit = deep(name).fit(
        Y,
        method=ss.Variational(),
        learner=ss.Gradient(9, batch_size=4, evaluate_every=2),
        validation=Y[:3],
        seed=0,
    )
    assert [r.step for r in fit.records] == [4, 8, 9]  # two updates a pass, and the end
    for r in fit.records:
        assert math.isfinite(r.validation)
        assert min(r.gradient_norm, r.seconds) > 0
        assert len(r.kl_per_dim) == 2
        assert r.kl == pytest.approx(sum(r.kl_per_dim))
        assert r.active_units == sum(part > 0.01 for part in r.kl_per_dim)
        assert f"KL {r.kl:.3g}, {r.active_units}/2 units" in repr(r)


@pytest.mark.parametrize("name", MODELS)
def test_the_divergence_is_that_of_the_bound(name):
    """KL per row = (log p(y | z) - ELBO) / rows with the same draws."""
    model = deep(name)
    model.fit(Y, learner=ss.Gradient(3), seed=0)
    data = read_sequences(
        [Y[0], Y[1, :5]], obs_dim=1, input_dim=0, dtype=torch.float64, device="cpu"
    )
    facts = divergence(model, data, torch.Generator().manual_seed(1))
    torch.manual_seed(1)
    trace = draw(model, model.guide, data, 1)
    kl = terms_of(model, model.guide, data, trace, in_closed_form).kl.detach()
    assert facts["kl"] == pytest.approx(float(kl.sum()) / 17, rel=1e-12)


def test_held_out_data_are_scored_by_another_method():
    """One metric, climbed otherwise: the record is that method's score of the point."""
    model, metric = deep(), ss.ImportanceWeighted(7)
    fit = model.fit(Y, learner=ss.Gradient(1, lr=1e-300, metric=metric), validation=Y[:3], seed=3)
    by_elbo = deep().fit(Y, learner=ss.Gradient(1, lr=1e-300), validation=Y[:3], seed=3)
    assert fit.records[-1].validation > by_elbo.records[-1].validation
    exact = model.score(Y[:3], method=ss.ImportanceWeighted(3000), seed=0)
    gap = float(exact.value) / 36 - fit.records[-1].validation
    assert abs(gap) < 0.2


def test_the_best_point_on_held_out_data_is_kept():
    """Overfitting at a large rate: what is left is the record's best, not the last."""
    model = deep()
    learner = ss.Gradient(60, lr=0.05, metric=ss.ImportanceWeighted(5), evaluate_every=5)
    other = torch.randn(3, 12, 1, generator=torch.Generator().manual_seed(9)).double()
    fit = model.fit(Y[:2], learner=learner, validation=other, seed=0)
    scores = [r.validation for r in fit.records]
    assert max(scores) > scores[-1]
    again = model.fit(
        Y[:2], learner=ss.Gradient(1, lr=1e-300, metric=learner.metric), validation=other, seed=0
    )
    assert again.records[-1].validation == pytest.approx(max(scores), abs=0.05)


def test_an_annealed_bound_does_not_keep_its_first_points():
    """With a divergence that begins without weight, the objective falls; the last point stays."""
    method = ss.Variational(beta=ss.Warmup(40))
    ends = []
    for steps in (40, 41):
        model = deep()
        model.fit(Y, method=method, learner=ss.Gradient(steps), seed=0)
        ends.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert not torch.equal(*ends)


def test_a_guide_that_ends_at_the_prior_is_said():
    """White noise: there is nothing for z to tell. What is advised helps where there is."""
    noise = torch.randn(10, 20, 1, generator=torch.Generator().manual_seed(1)).double()
    fit = deep().fit(noise, learner=ss.Gradient(150, lr=1e-2), seed=0)
    assert fit.records[-1].kl < 0.01
    assert any("z is not used" in warning for warning in fit.warnings)
    growing = ss.Variational(beta=ss.Warmup(100))
    learner = ss.Gradient(120, lr=1e-2)
    used = deep("DeepKalmanFilter").fit(Y, method=growing, learner=learner, seed=0)
    assert used.records[-1].kl > 0.01
    assert not any("z is not used" in warning for warning in used.warnings)


def test_a_likelihood_without_a_guide_has_no_divergence():
    fit = ss.LDS(1, 1).fit(Y, learner=ss.Gradient(3), seed=0)
    assert math.isnan(fit.records[-1].kl)
    assert fit.records[-1].active_units is None
    assert "KL" not in repr(fit.records[-1])


class Rooted(StateSpaceModel):
    """A random walk, seen with sqrt(u_t) added."""

    def __init__(self) -> None:
        super().__init__()
        self.latent, self.obs_dim, self.input_dim = Real(1), 1, 1
        self.loc = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def default_method(self):
        return ss.ParticleFilter(20)

    def default_learner(self):
        return ss.Gradient(2)

    def initial(self, ctx):
        return near(self.loc)

    def transition(self, z, ctx):
        return near(z)

    def emission(self, z, ctx):
        return near(z + ctx.u.sqrt())


def near(mean):
    normal = torch.distributions.Normal(mean, 1.0, validate_args=False)
    return torch.distributions.Independent(normal, 1, validate_args=False)


def test_what_is_not_finite_is_said_with_series_and_row():
    y, u = torch.zeros(2, 3, 9, 1, dtype=torch.float64)
    u[2, 6] = -1.0
    with pytest.raises(NumericalError, match="series 2, row 6"):
        Rooted().fit(y, u, seed=0)
    learner = ss.Gradient(50, batch_size=1)
    for seed in range(8):  # where the series comes first it is an error, else it ends the fit
        try:
            said = Rooted().fit(y, u, learner=learner, seed=seed).reason
        except NumericalError as error:
            said = str(error)
        assert "series 2, row 6" in said


def test_a_parameter_that_is_not_finite_is_named():
    model = deep()
    with torch.no_grad():
        next(iter(model.head.parameters())).fill_(math.nan)
    name = next(n for n, p in model.named_parameters() if not bool(p.isfinite().all()))
    with pytest.raises(NumericalError, match=f"the parameter {name} is not finite"):
        model.fit(Y, learner=ss.Gradient(2), seed=0)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_an_interrupted_bound_goes_on_bit_for_bit(name, dropout, tmp_path):
    """Warm-up, dropout, minibatches and held-out data: the same run as without the interruption."""
    path = tmp_path / "fit.safetensors"
    method = ss.Variational(beta=ss.Warmup(10))

    def fitted(checkpoint=None, progress=None):
        model = deep(name)
        model.guide.dropout.p = dropout
        learner = ss.Gradient(
            12, 1e-2, batch_size=3, checkpoint=checkpoint, metric=ss.ImportanceWeighted(3)
        )
        fit = model.fit(
            Y, method=method, learner=learner, validation=Y[:2], seed=5, progress=progress
        )
        return fit, torch.cat([p.detach().flatten() for p in model.parameters()])

    def stop(i: int, value: float) -> None:
        if i == 8:
            raise KeyboardInterrupt

    whole, end = fitted()
    with pytest.raises(KeyboardInterrupt):
        fitted(path, stop)
    fit, again = fitted(path)
    assert torch.equal(end, again)
    assert fit.history == whole.history
    timeless = [[(r.step, r.objective, r.kl_per_dim) for r in f.records] for f in (fit, whole)]
    assert timeless[0] == timeless[1]


def test_another_seed_goes_on_with_the_random_numbers_of_the_first(tmp_path):
    """Points before and after an interruption are compared by the same ones; so are settings."""
    path = tmp_path / "fit.safetensors"

    def fitted(seed, progress=None, decay=0.1, schedule=None):
        learner = ss.Gradient(
            12, 1e-2, batch_size=4, optimizer="adamw", weight_decay=decay, evaluate_every=3,
            checkpoint=path, metric=ss.ImportanceWeighted(3), schedule=schedule,
        )  # fmt: skip
        return deep().fit(Y, learner=learner, validation=Y[:2], seed=seed, progress=progress)

    def stop(i: int, value: float) -> None:
        if i == 9:
            raise KeyboardInterrupt

    whole = fitted(5)
    with pytest.raises(KeyboardInterrupt):
        fitted(5, stop)
    with pytest.raises(StorageError, match="weight_decay"):
        fitted(5, decay=0.0)
    with pytest.raises(StorageError, match="schedule"):
        fitted(5, schedule=lambda step: 1.0)
    fit = fitted(6)
    for one, other in zip(fit.records, whole.records, strict=True):
        assert (one.validation, one.gradient_norm) == (other.validation, other.gradient_norm)


def test_parts_without_a_value_are_passed_over():
    """Series of which nothing was observed, alone in their batch, with and without windows."""
    y = Y.clone()
    y[3:] = torch.nan
    for window in (None, 50):
        rnn = ss.AutoregressiveRNN(1, hidden_dim=4, dtype=torch.float64, seed=0)
        learner = ss.Gradient(6, batch_size=1, window=window)
        fit = rnn.fit(y, method=ss.TeacherForcing(5), learner=learner, seed=0)
        assert all(math.isfinite(v) for v in fit.history)
        assert len(fit.history) == 2


def test_a_window_as_long_as_the_series_changes_nothing():
    """Of unequal lengths: each value counts the same, whatever batch it is in."""
    y = [row[:5] for row in Y[:4]] + list(Y[4:])
    ends = []
    for window in (None, 12, 60):
        rnn = ss.AutoregressiveRNN(1, hidden_dim=4, dtype=torch.float64, seed=0)
        rnn.fit(y, learner=ss.Gradient(8, batch_size=3, window=window), seed=0)
        ends.append(torch.cat([p.detach().flatten() for p in rnn.parameters()]))
    assert torch.equal(ends[0], ends[1])
    assert torch.equal(ends[0], ends[2])


def test_the_row_of_a_failure_is_that_of_the_series():
    """Not of its window."""
    y, u = torch.zeros(2, 3, 9, 1, dtype=torch.float64)
    u[2, 6] = -1.0
    said = ""
    try:
        said = Rooted().fit(y, u, learner=ss.Gradient(9, window=4), seed=0).reason
    except NumericalError as error:
        said = str(error)
    assert "series 2, row 6" in said


@pytest.mark.parametrize("name", MODELS)
def test_windows_carry_the_state(name):
    """Truncated back-propagation through a bound."""
    model = deep(name)
    fit = model.fit(Y, learner=ss.Gradient(60, lr=1e-2, window=5), seed=0)
    first, last = (torch.tensor(part).mean() for part in (fit.history[:4], fit.history[-4:]))
    assert last > first


def test_dropout_is_in_what_is_climbed_alone():
    model = deep()
    model.fit(Y, learner=ss.Gradient(1, lr=1e-300), seed=0)
    before = model.score(Y, method=ss.Variational(), seed=1).value
    model.guide.dropout.p = 0.5
    after = model.score(Y, method=ss.Variational(), seed=1).value
    assert before == after
    noisy = model.fit(Y, learner=ss.Gradient(1, lr=1e-300), seed=1).history[0]
    model.guide.dropout.p = 0.0
    plain = model.fit(Y, learner=ss.Gradient(1, lr=1e-300), seed=1).history[0]
    assert noisy != plain


@pytest.mark.parametrize(
    ("settings", "error", "word"),
    [
        ({"evaluate_every": 0}, InputError, "evaluate_every"),
        ({"metric": "iwae"}, InputTypeError, "metric"),
        ({"metric": ss.ImportanceWeighted, "steps": 3}, InputTypeError, "metric"),
        ({"metric": ss.Variational(), "optimizer": "lbfgs"}, InputError, "metric"),
    ],
)
def test_settings_out_of_range(settings, error, word):
    with pytest.raises(error, match=word):
        ss.Gradient(**settings)


class Mixed(Rooted):
    """Its first density has independent entries, the others hang together."""

    def __init__(self) -> None:
        super().__init__()
        self.latent, self.input_dim = Real(2), 0

    def initial(self, ctx):
        return near(self.loc.expand(2))

    def transition(self, z, ctx):
        eye = torch.eye(2, dtype=z.dtype)
        return torch.distributions.MultivariateNormal(z, scale_tril=eye, validate_args=False)

    def emission(self, z, ctx):
        return near(z[..., :1])


def test_a_divergence_that_cannot_be_divided_everywhere_is_a_whole():
    """One row of which the entries hang together, and no share is told."""
    guided = ss.Guided(Mixed(), hidden_dim=4, posterior="mlp", seed=0)
    fit = guided.fit(Y, learner=ss.Gradient(2), seed=0)
    assert fit.records[-1].kl > 0
    assert fit.records[-1].kl_per_dim == ()
