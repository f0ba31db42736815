"""Models side by side on held-out data; the contract run against models that break it."""

import math

import pytest
import torch
from contract.stand_ins import Hindsight, Lines
from contract.tiny import F64, MODELS, Cell, Discrete, Plain, Recurrent, inputs, normal
from torch.testing import assert_close

from statespace.check import check_model, citation
from statespace.comparison import Difference, compare
from statespace.comparison.paired import spread_of_sum
from statespace.datasets import nile
from statespace.errors import InputError, InputTypeError, MethodError, StateSpaceError
from statespace.inference import ExtendedKalman, Kalman, ParticleFilter, UnscentedKalman
from statespace.interface import StateSpaceModel
from statespace.models import LDS, NoisyRNN


class Exact(Lines):
    def default_method(self):
        return Kalman()


@pytest.fixture
def case():
    plain = Plain()
    u = inputs(2, 20)
    y = plain.sample(20, inputs=u, seed=1).y
    return plain, Exact(plain), y[:, :14], y[:, 14:], u[:, :14], u[:, 14:]


def test_kinds_stand_apart_and_the_best_is_first(case):
    """Exact before estimate; inside a kind the larger log-likelihood first."""
    plain, exact, train, test, u, v = case
    worse = Exact(Plain())
    with torch.no_grad():
        worse.plain.m_0.zero_()
        worse.plain.A.mul_(-1)
    table = compare(
        {"particles": plain, "worse": worse, "exact": exact},
        train,
        test,
        inputs=u,
        test_inputs=v,
        seed=0,
    )
    assert [e.name for e in table] == ["exact", "worse", "particles"]
    assert [e.score.kind for e in table] == ["exact", "exact", "estimate"]
    text = str(table)
    assert text.index("exact log-likelihoods") < text.index("estimate log-likelihoods")
    assert len(table) == 3
    frame = table.to_frame()
    assert list(frame.index) == ["exact", "worse", "particles"]
    assert frame.loc["particles", "stderr"] > 0


def test_continuing_scores_what_follows(case):
    """log p(test | train) = log p(both) - log p(train); on its own the test starts anew."""
    _, exact, train, test, u, v = case
    both, w = torch.cat([train, test], 1), torch.cat([u, v], 1)
    with torch.no_grad():
        whole = exact.log_likelihood(both, w).sum() - exact.log_likelihood(train, u).sum()
        alone = exact.log_likelihood(test, v).sum()
    follows = compare([exact], train, test, inputs=u, test_inputs=v)
    anew = compare([exact], train, test, inputs=u, test_inputs=v, continues=False)
    assert_close(follows["Exact 1"].score.value, float(whole))
    assert_close(anew["Exact 1"].score.value, float(alone))


@pytest.mark.parametrize(("horizon", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2)])
def test_rmse_is_that_of_forecasts_from_every_row(case, horizon, stride):
    """Each origin looks `horizon` rows ahead, by hand: filter all before it, forecast, compare."""
    _, exact, train, test, u, v = case
    both, w = torch.cat([train, test], 1), torch.cat([u, v], 1)
    test = test.clone()
    test[0, 4, 1] = torch.nan  # an entry nobody knows is no error
    both[0, 18, 1] = torch.nan
    errors = []
    for t in range(14, 20 - horizon + 1, stride):
        fc = exact.forecast(both[:, :t], horizon=horizon, inputs=w[:, : t + horizon])
        errors.append(fc.mean[:, -1] - both[:, t + horizon - 1])
    errors = torch.stack(errors)
    wanted = float(errors[~errors.isnan()].square().mean().sqrt())
    found = compare([exact], train, test, inputs=u, test_inputs=v, horizon=horizon, stride=stride)
    assert_close(found["Exact 1"].rmse, wanted)


def test_one_model_by_several_methods():
    """Exact, approximate and estimate in one table, each what the verb gives by that method; a
    linear model is exact by any rule."""
    y = nile() / 100
    lds = LDS(1, 1)
    fit = lds.fit(y[:80], seed=0)
    rnn = NoisyRNN(2, 1, seed=0)
    methods = {
        "EKF": ExtendedKalman(),
        "UKF": UnscentedKalman(),
        "particles": ParticleFilter(200),
    }
    models = {name: (rnn, method) for name, method in methods.items()}
    models |= {"LDS": fit, "LDS by EKF": (fit, ExtendedKalman())}
    table = compare(models, y[:80], y[80:], seed=3)
    kinds = ["exact"] * 2 + ["approximate"] * 2 + ["estimate"]
    assert [entry.score.kind for entry in table] == kinds
    for name, method in methods.items():
        state = rnn.filter(y[:80], method=method, seed=3).state
        wanted = rnn.score(y[80:], state=state, method=method, seed=3)
        assert table[name].score.value == wanted.value
        assert table[name].method == repr(method)
    assert_close(table["LDS by EKF"].score.value, table["LDS"].score.value)
    assert table["LDS by EKF"].num_params == fit.num_params
    listed = compare([(rnn, ExtendedKalman())], y[:80], y[80:])
    assert [entry.name for entry in listed] == ["NoisyRNN 1"]


def test_a_difference_says_what_it_is(case):
    """Between exact numbers nothing; an estimate is a bound in expectation; an approximation is
    neither, and no sign of its own."""
    y = nile() / 100
    lds, rnn = LDS(1, 1, seed=0), NoisyRNN(2, 1, seed=0)
    models = {
        "exact": lds,
        "also": LDS(1, 1, seed=1),
        "approximate": (rnn, ExtendedKalman()),
        "estimate": (rnn, ParticleFilter(50)),
    }
    table = compare(models, y[:80], y[80:], seed=0)
    first = next(iter(table)).name
    second = {"exact": "also", "also": "exact"}[first]
    found = table.differences()
    assert {name: d.relation for name, d in found.items()} == {
        second: "=",
        "approximate": "~",
        "estimate": ">=",
    }
    back = table.differences("estimate")
    assert back["exact"].relation == "<="
    assert back["approximate"].relation == "~"
    assert_close(back[first].value, -found["estimate"].value)
    per_step = table["approximate"].score.per_step - table[first].score.per_step
    assert_close(found["approximate"].value, per_step)
    text = str(table)
    assert f"difference: per step, less that of {first}" in text
    assert f"~ {per_step:+.4f} +- " in text
    assert ">= " in text
    frame = table.to_frame()
    assert frame.loc["estimate", "relation"] == ">="
    assert frame.loc[first, "relation"] == ""
    with pytest.raises(InputError, match="`reference`: expected one of"):
        table.differences("no such model")
    assert str(Difference("a", "b", 0.5, math.nan, "=")) == "+0.5000"


def test_the_error_of_a_difference_is_that_of_paired_rows(case):
    """By hand over two series with a gap; drawn scores add theirs in squares."""
    plain, exact, train, test, u, v = case
    test = test.clone()
    test[0, 2] = torch.nan
    worse = Exact(Plain())
    with torch.no_grad():
        worse.plain.m_0.zero_()
        worse.plain.A.mul_(-1)
    models = {"exact": exact, "worse": worse, "particles": plain}
    table = compare(models, train, test, inputs=u, test_inputs=v, seed=0)
    state = {m: m.filter(train, u).state for m in (exact, worse)}
    rows = [m.filter(test, v, state=state[m]).increments for m in (worse, exact)]
    gap = rows[0] - rows[1]
    variance = sum(spread_of_sum(series) ** 2 for series in gap)
    found = table.differences()
    assert_close(found["worse"].value, float(gap.sum()) / 11)
    assert_close(found["worse"].stderr, math.sqrt(variance) / 11)
    drawn = table["particles"]
    own = sum(spread_of_sum(series) ** 2 for series in drawn.rows - table["exact"].rows)
    assert_close(found["particles"].stderr, math.sqrt(own + drawn.score.stderr**2) / 11)


@pytest.mark.parametrize("phi", [0.0, 0.7, -0.5])
def test_the_error_of_a_sum_counts_autocorrelation(phi):
    """Over 400 series of 500 rows whose sums have a known spread: right on average within 7 %
    (4 standard errors of the average are 2 to 3 %, the rest the bias of the rule); rows taken for
    independent would be off by factors of 2.4 and 0.6."""
    e = torch.randn(400, 600, dtype=F64, generator=torch.Generator().manual_seed(0))
    x = torch.zeros_like(e)
    for t in range(1, 600):
        x[:, t] = phi * x[:, t - 1] + e[:, t]
    found = torch.tensor([spread_of_sum(series) for series in x[:, 100:]]).mean()
    assert float(found) / (math.sqrt(500) / (1 - phi)) == pytest.approx(1.0, abs=0.07)
    assert math.isnan(spread_of_sum(x[0, :1]))


def test_a_method_that_looks_ahead_has_no_rows_and_no_forecasts(case):
    """But a score, where the test data start anew."""

    class Ahead(Plain):
        def default_method(self):
            return Hindsight()

    _, exact, train, test, u, v = case
    table = compare([Ahead(), exact], train, test, inputs=u, test_inputs=v, continues=False)
    one = table["Ahead 1"]
    assert math.isnan(one.rmse)
    assert one.rows is None
    other = "Exact 2" if next(iter(table)).name == "Ahead 1" else "Ahead 1"
    assert math.isnan(table.differences()[other].stderr)
    assert " +- " not in str(table)


def test_compare_refuses_in_sentences(case):
    """No models, what is no model, a horizon beyond the data, a method that looks ahead."""
    plain, exact, train, test, u, v = case
    more = {"inputs": u, "test_inputs": v}
    with pytest.raises(InputError, match="`models`"):
        compare({}, train, test, **more)
    with pytest.raises(InputTypeError, match="`models`"):
        compare({"a": "LDS"}, train, test, **more)
    with pytest.raises(InputTypeError, match="`models`: expected models, received int"):
        compare(3, train, test, **more)
    with pytest.raises(InputTypeError, match=r"received str for number 2.*a pair of"):
        compare([exact, ("LDS", Kalman())], train, test, **more)
    with pytest.raises(InputTypeError, match="`method`: expected a Method"):
        compare([(exact, "Kalman")], train, test, **more)
    with pytest.raises(InputError, match="`horizon`: expected at most 6"):
        compare([exact], train, test, horizon=7, **more)

    class Ahead(Plain):
        def default_method(self):
            return Hindsight()

    with pytest.raises(MethodError, match=r"compare\(\) never looks ahead"):
        compare([Ahead()], train, test, **more)
    assert plain is not None


def test_parameters_are_counted_as_a_fit_counts():
    """Moments of z_1 that one series cannot tell are no parameters, whether the fit, its model or
    the stored model is given; without training data all that is declared counts."""
    y = nile()
    fit = LDS(1, 1).fit(y[:80], seed=0)
    assert (fit.num_params, fit.model.num_params) == (5, 7)
    table = compare({"fit": fit, "model": fit.model}, y[:80], y[80:])
    assert [entry.num_params for entry in table] == [5, 5]
    assert table["fit"].score.value == table["model"].score.value
    assert all(p.requires_grad for p in fit.model.parameters())
    alone = compare(fit.model, None, y[80:], continues=False)
    assert alone["LDS 1"].num_params == 7


def test_standard_errors_have_a_column_where_there_are_any(case):
    """Exact numbers have none, and no empty column."""
    plain, exact, train, test, u, v = case
    exact_lines, drawn_lines = (
        str(compare([m], train, test, inputs=u, test_inputs=v, seed=0)) for m in (exact, plain)
    )
    assert "stderr" not in exact_lines
    assert "stderr" in drawn_lines
    both = str(
        compare({"a": exact, "b": plain}, train, test, inputs=u, test_inputs=v, seed=0)
    ).split("\n\n")
    for text in (exact_lines, drawn_lines, *both[:2]):
        assert len({len(line) for line in text.splitlines()[1:]}) == 1
    assert "difference" not in exact_lines  # there is none beside a model alone


def test_categories_have_no_rmse():
    """But a score, and a place in the table."""

    class Tokens(Discrete):
        categorical = True

        def emission(self, z, ctx):
            logits = self.centres[z][..., None] * torch.tensor([0.0, 1.0, 2.0], dtype=F64)
            law = torch.distributions.Categorical(logits=logits)
            return torch.distributions.Independent(law, 1)

    model = Tokens()
    u = inputs(12)
    y = model.sample(12, inputs=u, seed=0).y
    assert y.dtype == torch.int64
    table = compare([model], y[:8], y[8:], inputs=u[:8], test_inputs=u[8:], seed=0)
    assert math.isnan(table["Tokens 1"].rmse)
    fc = model.forecast(y, horizon=2, inputs=torch.cat([u, u[:2]]), seed=0)
    assert fc.probs.shape == (2, 2, 3)
    assert_close(fc.probs.sum(-1), torch.ones(2, 2, dtype=F64))
    assert fc.samples.dtype == torch.int64
    f = model.filter(y, u, seed=0)
    assert f.y_mean is None
    assert f.mean is None
    check_model(model)


# ---------------------------------------------------------------- check_model


@pytest.mark.parametrize("name", MODELS)
def test_the_tiny_models_keep_the_contract(name):
    """Eight promises, as sentences."""
    kept = check_model(MODELS[name]())
    assert len(kept) == 8
    assert kept[1].startswith("time: ")


class _Fused(Cell):
    """Its scan forgets the memory at the first row."""

    def scan(self, memory, x, lengths):
        return super().scan((0 * memory[0], memory[1]), x, lengths)


class _ByRank(Plain):
    """Takes the first axis for the batch."""

    def transition(self, z, ctx):
        return normal(z @ self.A.mT + z.mean(0), torch.ones(2, dtype=F64))


class _Wide(Plain):
    def emission(self, z, ctx):
        law = super().emission(z, ctx)
        return normal(torch.cat([law.mean, law.mean[..., :1]], -1), torch.ones(3, dtype=F64))


class _Sharp(Plain):
    def emission(self, z, ctx):
        return normal(z @ self.C.mT, (self.root_r[1, 1] * 0).sqrt() + torch.ones(2, dtype=F64))


def _forgetful():
    model = Recurrent()
    model.path = _Fused(4, 2, False, seed=31)
    return model


@pytest.mark.parametrize(
    ("make", "promise"),
    [
        (_forgetful, "time"),
        (_ByRank, "time|samples|batch"),
        (_Wide, "shapes"),
        (_Sharp, "gradient"),
    ],
)
def test_a_broken_promise_is_named(make, promise):
    """Models that are wrong in one way each."""
    with pytest.raises(StateSpaceError, match=f"breaks a promise. ({promise}):"):
        check_model(make())


def test_citation():
    """The library once, then the sources of what was used, each once."""
    text = citation(ParticleFilter(3), ParticleFilter, Plain())
    assert text.count("@software") == 1
    assert text.count("gordon1993") == 1
    assert StateSpaceModel.references == ()
