"""Models side by side on held-out data; the contract run against models that break it."""

import math

import pytest
import torch
from contract.stand_ins import Hindsight, Lines
from contract.tiny import F64, MODELS, Cell, Discrete, Plain, Recurrent, inputs, normal
from torch.testing import assert_close

from statespace.check import check_model, citation
from statespace.comparison import compare
from statespace.datasets import nile
from statespace.errors import InputError, InputTypeError, MethodError, StateSpaceError
from statespace.inference import Kalman, ParticleFilter
from statespace.interface import StateSpaceModel
from statespace.models import LDS


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


@pytest.mark.parametrize("horizon", [1, 3])
def test_rmse_is_that_of_forecasts_from_every_row(case, horizon):
    """Each origin looks `horizon` rows ahead, by hand: filter all before it, forecast, compare."""
    _, exact, train, test, u, v = case
    both, w = torch.cat([train, test], 1), torch.cat([u, v], 1)
    test = test.clone()
    test[0, 4, 1] = torch.nan  # an entry nobody knows is no error
    both[0, 18, 1] = torch.nan
    errors = []
    for t in range(14, 20 - horizon + 1):
        fc = exact.forecast(both[:, :t], horizon=horizon, inputs=w[:, : t + horizon])
        errors.append(fc.mean[:, -1] - both[:, t + horizon - 1])
    errors = torch.stack(errors)
    wanted = float(errors[~errors.isnan()].square().mean().sqrt())
    found = compare([exact], train, test, inputs=u, test_inputs=v, horizon=horizon)
    assert_close(found["Exact 1"].rmse, wanted)


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
    for text in (exact_lines, drawn_lines):
        assert len({len(line) for line in text.splitlines()[1:]}) == 1


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
