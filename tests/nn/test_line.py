"""Heads that begin at a line: least squares of y on the rows beside the memory."""

import numpy as np
import pytest
import torch

import statespace as ss
from statespace.nn import emission_head
from statespace.nn.line import Line

F64 = torch.float64


def autoregressive(series: int = 6, rows: int = 200) -> torch.Tensor:
    """y_t = 1.6 y_{t-1} - 0.64 y_{t-2} + correlated noise, about a level far from zero."""
    g = torch.Generator().manual_seed(0)
    root = torch.tensor([[1.0, 0.0], [0.9, 0.1]], dtype=F64)
    noise = torch.randn(series, rows, 2, dtype=F64, generator=g) @ root.T
    y = [noise[:, 0], noise[:, 1]]
    for t in range(2, rows):
        y.append(1.6 * y[-1] - 0.64 * y[-2] + noise[:, t])
    return 100 + 5 * torch.stack(y, 1)


def of_two_rows(y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What least squares leaves, and its covariance."""
    x = torch.cat([y[:, 1:-1], y[:, :-2], torch.ones_like(y[:, 2:, :1])], -1).flatten(0, 1)
    target = y[:, 2:].flatten(0, 1)
    left = target - x @ torch.linalg.lstsq(x, target).solution
    return left, left.T @ left / len(left)


@pytest.mark.parametrize("name", ["AutoregressiveRNN", "VRNN", "SRNN"])
@pytest.mark.parametrize("family", ["gaussian", "multivariate_normal"])
def test_a_model_begins_at_the_line_through_the_rows_it_shows(name, family):
    """Hardly trained, it predicts as the regression does; sixteen hidden numbers are noise."""
    y = autoregressive()
    sizes = (2,) if name == "AutoregressiveRNN" else (2, 2)
    model = getattr(ss, name)(
        *sizes, hidden_dim=16, skip=2, family=family, dtype=F64, min_scale=1e-6, seed=0
    )
    model.fit(y, learner=ss.Gradient(1, lr=1e-300), seed=0)
    left, cov = of_two_rows(y)
    if family == "gaussian":
        cov = cov.diagonal().diag()
    zero = torch.zeros(2, dtype=F64)
    wanted = torch.distributions.MultivariateNormal(zero, cov).log_prob(left).mean()
    found = model.score(y, seed=0).per_step
    assert found == pytest.approx(
        float(wanted), abs=0.2
    )  # from the mean and spread of y it would be 4 off


def test_rows_with_gaps_are_left_out_of_the_line():
    """The line through what is whole, whatever stands in the place of what is not."""
    y = autoregressive()
    holed = y.clone()
    holed[0, 50, 1] = torch.nan
    models = []
    for data in (y, holed):
        model = ss.AutoregressiveRNN(2, hidden_dim=3, skip=1, dtype=F64, seed=0)
        model.fit(data, learner=ss.Gradient(1, lr=1e-300), seed=0)
        models.append(model)
    one, other = (model.head.line for model in models)
    assert not torch.equal(one.weight, other.weight)
    torch.testing.assert_close(one.weight, other.weight, rtol=0, atol=2e-2)


def test_too_few_rows_leave_a_line_as_it_is():
    line = Line(5, 2, F64)
    assert line.learn(torch.randn(9, 5), torch.randn(9, 2), torch.ones(9).bool()) is None
    assert not line.weight.any()
    assert line.residual.tolist() == [1, 1]


def test_features_that_do_not_move_and_copies_are_no_obstacle():
    g = torch.Generator().manual_seed(1)
    x = torch.randn(50, 2, dtype=F64, generator=g)
    wide = torch.cat([x, x[:, :1], torch.ones(50, 1, dtype=F64)], -1)
    line = Line(4, 1, F64)  # the last feature says that there are rows
    left = line.learn(wide, 2 * x[:, :1] - x[:, 1:] + 7, torch.ones(50).bool())
    assert float(left.abs().max()) < 1e-12
    assert line(wide[0])[0] == pytest.approx(float(2 * x[0, 0] - x[0, 1] + 7))


@pytest.mark.parametrize(
    "family", ["gaussian", "student_t", "mixture", "multivariate_normal", "multivariate_student_t"]
)
def test_what_a_network_adds_is_counted_in_what_the_line_leaves(family):
    """Halving what the line leaves halves what the same weights add to it.

    Where the rows are not there yet, there is no line, and the level and spread of y count.
    """
    own = {"num_components": 2} if family == "mixture" else {}
    torch.manual_seed(0)
    x = torch.cat([torch.randn(400, 2, dtype=F64), torch.ones(400, 1, dtype=F64)], -1)
    noise = torch.randn(400, 2, dtype=F64)
    added = []
    for size in (1.0, 0.5):
        torch.manual_seed(1)
        head = emission_head(family, 3, 2, skip=True, min_scale=1e-9, dtype=F64, **own)
        y = x @ torch.ones(3, 2, dtype=F64) + size * noise
        head.units.scale.fill_(1)
        head.regress(x, y, torch.ones(400).bool())
        added.append(head(x).mean - head.line(x))
        early = torch.cat([x[:1, :-1], torch.zeros(1, 1, dtype=F64)], -1)
        assert float(head(early).variance.mean().detach()) > 0.5
        assert float(head(early).mean.detach().abs().max()) < 1
    torch.testing.assert_close(added[1], 0.5 * added[0], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("family", ["gaussian", "multivariate_normal"])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_a_column_on_a_line_leaves_no_less_than_rounding(family, dtype):
    """Linear in time: two rows tell the third exactly, and the density stays one that learns."""
    t = torch.arange(60.0, dtype=dtype)
    y = torch.stack([0.3 * t, torch.sin(t)], -1).repeat(3, 1, 1)
    y[1] += 5
    model = ss.AutoregressiveRNN(2, hidden_dim=4, skip=2, family=family, dtype=dtype, seed=0)
    fit = model.fit(y, learner=ss.Gradient(150), seed=0)
    assert fit.history[-1] > fit.history[0]
    assert fit.log_likelihood / fit.n_values > 0


@pytest.mark.parametrize("family", ["gaussian", "multivariate_normal", "multivariate_student_t"])
@pytest.mark.parametrize("skip", [0, 1])
def test_a_series_that_does_not_move_is_no_error(family, skip):
    model = ss.AutoregressiveRNN(2, hidden_dim=3, family=family, skip=skip, seed=0)
    fit = model.fit(torch.full((3, 20, 2), 4.0), learner=ss.Gradient(5), seed=0)
    assert torch.isfinite(torch.tensor(fit.history)).all()


def test_dropout_leaves_the_line_alone():
    """What a line is drawn through is whole: with and without, the objective is of one size."""
    y = torch.sin(torch.arange(80.0) / 4 + torch.arange(6.0)[:, None])[..., None]
    starts = []
    for dropout in (0.0, 0.4):
        model = ss.AutoregressiveRNN(1, hidden_dim=8, skip=2, dropout=dropout, seed=0)
        starts.append(model.fit(y, learner=ss.Gradient(1, lr=1e-300), seed=0).history[0] / 480)
    assert starts[1] == pytest.approx(starts[0], abs=1.0)


def test_nothing_shown_means_no_line():
    """A memory that reads a condition alone has no rows to show."""
    model = ss.AutoregressiveRNN(
        1, hidden_dim=4, skip=2, feedback="none", condition_dim=1, dtype=F64, seed=0
    )
    y = torch.randn(5, 20, 1, dtype=F64)
    model.fit(y, condition=torch.randn(5, 1), learner=ss.Gradient(1), seed=0)
    assert not model.head.line.weight.any()


@pytest.mark.parametrize("name", ["AutoregressiveRNN", "VRNN"])
def test_the_line_is_stored(name, tmp_path):
    """And a count given as another integer type is stored as a number."""
    sizes = (2,) if name == "AutoregressiveRNN" else (2, 2)
    model = getattr(ss, name)(*sizes, hidden_dim=4, skip=np.int64(2), seed=0)
    y = autoregressive().float()
    model.fit(y, learner=ss.Gradient(2), seed=0)
    model.save(tmp_path / "model")
    again = ss.load(tmp_path / "model")
    assert again.score(y, seed=0).value == model.score(y, seed=0).value
