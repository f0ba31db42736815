"""Figures: what they draw is what the records hold, and matplotlib's state is not touched."""

import io
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import rcParams
from matplotlib.figure import Figure

from statespace import LDS, plot
from statespace.comparison import Comparison, Entry
from statespace.diagnostics import GradientFlow, diagnose, gradient_flow
from statespace.errors import InputError, InputTypeError, MethodError
from statespace.results import (
    Filtered,
    FitResult,
    Forecast,
    Score,
    Smoothed,
    TrainingRecord,
    keeping,
)
from statespace.sequences import Index


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def filtered(*batch: int, T: int = 60, m: int = 2, **more) -> Filtered:
    e = noise(*batch, T, m)
    e[..., 0, :] = torch.nan
    return Filtered(
        innovations=e,
        y_cov=torch.eye(m, dtype=torch.float64).expand(*batch, T, m, m),
        kind="exact",
        log_likelihood=torch.zeros(batch),
        lengths=torch.full(batch, T),
        **more,
    )


def smoothed(T: int = 40, n: int = 2, **more) -> Smoothed:
    y_cov = torch.zeros(T, 1, 1, dtype=torch.float64)
    y_cov[10:15] = 4.0
    return Smoothed(
        mean=noise(T, n).cumsum(0),
        cov=torch.eye(n, dtype=torch.float64).repeat(T, 1, 1),
        y_mean=noise(T, 1).cumsum(0),
        y_cov=y_cov,
        kind="exact",
        log_likelihood=torch.tensor(0.0),
        lengths=torch.tensor(T),
        **more,
    )


def forecast(h: int = 12, m: int = 1, **more) -> Forecast:
    cov = torch.eye(m, dtype=torch.float64) * torch.arange(1.0, h + 1)[:, None, None].double()
    return Forecast(noise(h, m).cumsum(0), cov, kind="exact", **more)


def flow(*batch: int, T: int = 30) -> GradientFlow:
    """Of a linear model with A = 0.5."""
    lds = LDS(1, 1, A=[[0.5]], seed=0)
    return gradient_flow(lds, path=torch.zeros(*batch, T, 1))


def fitted(history=(-90.0, -50.0, -40.0, -40.0), **more) -> FitResult:
    return FitResult(
        "LDS", True, "the score is small", history, history[-1] if history else 0.0,
        num_params=2, n_values=50, **more,
    )  # fmt: skip


def table(count: int = 3) -> Comparison:
    """Exact, approximate, estimate: -1.0, -0.9 and -0.95 per step of 50."""
    scores = (
        Score(-50.0, n_steps=50, n_values=50),
        Score(-45.0, kind="approximate", n_steps=50, n_values=50),
        Score(-47.5, 2.5, kind="estimate", n_steps=50, n_values=50, num_samples=10),
    )
    entries = [
        Entry(name, "method", score, rmse, 3, noise(1, 50, seed=i))
        for i, (name, score, rmse) in enumerate(
            zip(("LDS", "EKF", "particles"), scores, (2.0, 1.0, float("nan")), strict=True)
        )
    ]
    return Comparison(tuple(entries[:count]), 4)


def particles(T: int = 30, num: int = 8, **more) -> Filtered:
    """Particle 0 alone has descendants at row 20; row 12 loses all weights."""
    ancestors = torch.arange(num, dtype=torch.int32).expand(T, num).clone()
    ancestors[20] = 0
    return Filtered(
        mean=noise(T, 1),
        ess=torch.linspace(1, num, T),
        ancestors=ancestors,
        particles=noise(T, num, 1, seed=1),
        lost=torch.tensor(12),
        kind="estimate",
        log_likelihood=torch.tensor(-torch.inf),
        lengths=torch.tensor(T),
        **more,
    )


def trained(guided: bool = True) -> FitResult:
    """Scores that rise from far below, and a second entry of z that falls out of use."""
    steps = range(10, 110, 10)
    facts = [{"kl": 1 + 1 / k, "kl_per_dim": (1.0, 1 / k), "active_units": 2} for k in steps]
    records = tuple(
        TrainingRecord(
            k, k / 7, -1 - 900 / k**2, 3 / k, -1.2 - 9 / k, **(facts[i] if guided else {})
        )
        for i, k in enumerate(steps)
    )
    return fitted(records=records)


FIGURES = {
    "particles": lambda: plot.particles(particles()),
    "comparison": lambda: plot.comparison(table()),
    "comparison of one": lambda: plot.comparison(table(1)),
    "diagnostics": lambda: plot.diagnostics(filtered()),
    "smoothed": lambda: plot.smoothed(smoothed()),
    "smoothed with its signal": lambda: plot.smoothed(smoothed(), C=[[1.0, 0.5]], offset=2.0),
    "forecast": lambda: plot.forecast(forecast(), noise(50), actual=noise(12)),
    "gradient flow": lambda: plot.gradient_flow(flow(3)),
    "training": lambda: plot.training(trained()),
    "training without a guide": lambda: plot.training(trained(guided=False)),
    "fit history": lambda: plot.fit_history(fitted(restarts=((-95.0, -60.0), (-80.0, -39.0)))),
}


def test_another_record_is_refused_by_name():
    """Each figure says which record it shows, and which verb returns it."""
    records = (filtered(), smoothed(), forecast(), fitted())
    wanted = {
        plot.comparison: Comparison,
        plot.diagnostics: Filtered,
        plot.particles: Filtered,
        plot.smoothed: Smoothed,
        plot.forecast: Forecast,
        plot.fit_history: FitResult,
        plot.training: FitResult,
    }
    for draw, kind in wanted.items():
        for record in records:
            if not isinstance(record, kind):
                with pytest.raises(InputTypeError, match=f"expected a {kind.__name__}, received"):
                    draw(record)


@pytest.mark.parametrize("make", FIGURES.values(), ids=FIGURES.keys())
def test_figures_are_drawn_in_full_and_labelled(make):
    """Every figure renders, every panel has a title or a label on its axes, and the settings of
    matplotlib are as they were."""
    before = dict(rcParams)
    fig = make()
    assert isinstance(fig, Figure)
    png = io.BytesIO()
    fig.savefig(png, format="png", dpi=40)
    assert png.getvalue().startswith(b"\x89PNG")
    assert dict(rcParams) == before
    for ax in fig.axes:
        assert ax.get_title(loc="left")
    assert fig.axes[-1].get_xlabel()


def test_pyplot_is_never_loaded():
    """Drawing leaves no current figure behind: pyplot is not even imported; and importing the
    module does not load matplotlib."""
    program = """
import sys
from statespace import plot
assert "matplotlib" not in sys.modules
from statespace.results import FitResult
plot.fit_history(FitResult("LDS", True, "", [1.0, 2.0], 2.0, num_params=1, n_values=3))
assert "matplotlib.figure" in sys.modules
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


# ---------------------------------------------------------------------- diagnostics


def test_the_four_panels_show_what_diagnose_says():
    """The line, the points of the Q-Q plot, the stems and the p-values are the diagnosis of the
    entry asked for."""
    record = filtered()
    found = diagnose(record)
    over_time, histogram, quantiles, correlogram = plot.diagnostics(record, entry=1).axes
    e = found.standardised[:, 1].numpy()
    np.testing.assert_array_equal(over_time.lines[-1].get_ydata(), e)
    np.testing.assert_array_equal(quantiles.lines[-1].get_ydata(), np.sort(e[1:]))
    area = sum(bar.get_width() * bar.get_height() for bar in histogram.patches)
    assert area == pytest.approx(1.0)
    np.testing.assert_allclose(
        correlogram.lines[-1].get_ydata(), found.autocorrelations[1:, 1].numpy()
    )
    for ax, test in (
        (over_time, found.heteroskedasticity),
        (quantiles, found.normality),
        (correlogram, found.ljung_box),
    ):
        assert f"p = {float(test.p_value[1]):.3f}" in ax.get_title(loc="left")


def test_diagnostics_of_one_series_of_a_batch():
    """Series 1 of a batch is drawn as it would be by itself."""
    record = filtered(3, m=1)
    drawn = plot.diagnostics(record, series=1).axes[0].lines[-1].get_ydata()
    np.testing.assert_array_equal(drawn, record.innovations[1, :, 0].numpy())
    with pytest.raises(InputError, match="`series`: expected from 0 to 2, received 3"):
        plot.diagnostics(record, series=3)
    with pytest.raises(InputError, match="`entry`: expected from 0 to 0"):
        plot.diagnostics(record, entry=1)


def test_diagnostics_without_innovations_are_refused():
    """A series with fewer than two innovations has no picture."""
    record = filtered(T=2)
    with pytest.raises(InputError, match="at least 2 standardised innovations, received 1"):
        plot.diagnostics(record)


def test_long_tails_stay_in_the_picture():
    """An outlier widens the histogram instead of falling off it."""
    record = filtered(m=1)
    record.innovations[5, 0] = 25.0
    histogram = plot.diagnostics(record).axes[1]
    assert sum(b.get_width() * b.get_height() for b in histogram.patches) == pytest.approx(1.0)


# ---------------------------------------------------------------------- smoothed


def test_smoothed_draws_data_imputation_and_bands():
    """Observed entries as data, missing ones with error bars, each state with its band."""
    record = smoothed()
    data, first, second = plot.smoothed(record, level=0.95).axes
    seen = data.lines[0].get_ydata()
    assert np.isnan(seen[10:15]).all()
    np.testing.assert_array_equal(seen[:10], record.y_mean[:10, 0].numpy())
    assert [t.get_text() for t in data.get_legend().get_texts()] == ["data", "imputed"]
    for i, ax in enumerate((first, second)):
        np.testing.assert_array_equal(ax.lines[0].get_ydata(), record.mean[:, i].numpy())
        (band,) = ax.collections
        top = band.get_paths()[0].vertices[:, 1].max()
        assert top == pytest.approx(float(record.mean[:, i].max()) + 1.95996, abs=1e-4)


def test_the_smoothed_signal_is_read_off_the_states():
    """With C the data panel holds C z + offset and its standard deviation."""
    record = smoothed()
    ax = plot.smoothed(record, C=[[1.0, 2.0]], offset=3.0, states=[], level=0.95).axes[0]
    signal = (record.mean @ torch.tensor([1.0, 2.0]).double() + 3.0).numpy()
    np.testing.assert_allclose(ax.lines[0].get_ydata(), signal)
    top = ax.collections[0].get_paths()[0].vertices[:, 1].max()
    assert top == pytest.approx(signal.max() + 1.959964 * 5**0.5, abs=1e-5)


def test_states_can_be_chosen_and_named():
    """Panels in the order asked for, under the names given; wrong ones are refused."""
    fig = plot.smoothed(smoothed(n=3), states=[2, 0], names=["season", "level"])
    titles = [ax.get_title(loc="left") for ax in fig.axes]
    assert [t.split("  ")[0] for t in titles] == ["y[0]", "season", "level"]
    with pytest.raises(InputError, match="`states`: expected numbers from 0 to 1"):
        plot.smoothed(smoothed(), states=[2])
    with pytest.raises(InputError, match="`names`: expected 2 names, received 1"):
        plot.smoothed(smoothed(), names=["level"])
    with pytest.raises(InputError, match="`level`: expected a probability"):
        plot.smoothed(smoothed(), level=95)


def test_what_is_infinitely_uncertain_has_no_band():
    """A diffuse state that nothing resolves is drawn without a band, not as an endless one."""
    record = smoothed()
    record.cov[:, 0, 0] = torch.inf
    fig = plot.smoothed(record)
    fig.savefig(io.BytesIO(), format="png", dpi=40)
    assert np.isfinite(fig.axes[1].get_ylim()).all()


def test_dates_come_from_the_index():
    """The axis of time is that of the data: dates as dates, periods at their start."""
    for times in (
        pd.date_range("2020-01", periods=40, freq="MS"),
        pd.period_range("2020-01", periods=40, freq="M"),
    ):
        index = Index(names=("flow",), times=(times,))
        ax = plot.smoothed(smoothed(index=index)).axes[0]
        assert ax.get_title(loc="left") == "flow"
        assert ax.lines[0].get_xdata()[0] == np.datetime64("2020-01-01")


# ---------------------------------------------------------------------- forecast


def test_the_fan_is_made_of_the_intervals():
    """One band for each level, its ends the quantiles, the widest behind; the median as a line."""
    record = forecast()
    ax = plot.forecast(record, levels=(0.5, 0.9)).axes[0]
    wide, narrow = ax.collections
    for band, level in ((wide, 0.9), (narrow, 0.5)):
        lower, upper = record.interval(level)
        heights = band.get_paths()[0].vertices[:, 1]
        assert heights.min() == pytest.approx(float(lower.min()))
        assert heights.max() == pytest.approx(float(upper.max()))
    np.testing.assert_allclose(ax.lines[0].get_ydata(), record.mean[:, 0].numpy())


def test_the_forecast_starts_after_the_data():
    """Rows of the data end where those of the forecast begin; `last` shows the end of the data."""
    record, y, actual = forecast(), noise(50), noise(12)
    ax = plot.forecast(record, y, actual=actual, last=20).axes[0]
    median, data, after = ax.lines
    assert data.get_xdata().tolist() == list(range(30, 50))
    assert median.get_xdata().tolist() == list(range(50, 62))
    np.testing.assert_array_equal(after.get_ydata(), actual.numpy())
    np.testing.assert_array_equal(data.get_ydata(), y[30:].numpy())


def test_one_row_ahead_is_visible():
    """A horizon of 1 has bars for its intervals and a point for its median."""
    record = forecast(h=1)
    ax = plot.forecast(record, levels=(0.9,)).axes[0]
    (bar,) = ax.collections[0].get_segments()
    lower, upper = record.interval(0.9)
    assert bar[:, 1].tolist() == pytest.approx([float(lower), float(upper)])
    assert ax.lines[0].get_marker() == "o"


def test_forecast_dates_go_on():
    """With dates in the data's index, data and forecast share one axis of dates."""
    times = pd.date_range("2020-01", periods=50, freq="MS")
    record = forecast(index=Index(times=(times,)), start=torch.tensor(50))
    ax = plot.forecast(record, noise(50)).axes[0]
    median, data = ax.lines
    assert data.get_xdata()[-1] == np.datetime64("2024-02-01")
    assert median.get_xdata()[0] == np.datetime64("2024-03-01")


def test_dates_that_cannot_go_on_fall_back_to_rows():
    """Irregular dates have no next one: both parts are numbered from the start of the forecast."""
    times = pd.DatetimeIndex(["2020-01-01", "2020-01-02", "2020-01-09", "2020-03-01"])
    record = forecast(index=Index(times=(times,)))
    ax = plot.forecast(record, noise(4)).axes[0]
    median, data = ax.lines
    assert data.get_xdata().tolist() == [-4, -3, -2, -1]
    assert median.get_xdata()[0] == 0
    assert ax.get_xlabel() == "rows from the start of the forecast"


def test_every_entry_has_a_panel():
    """m = 3: three panels, each with its own data."""
    y = noise(30, 3)
    fig = plot.forecast(forecast(m=3), y)
    for i, ax in enumerate(fig.axes):
        np.testing.assert_array_equal(ax.lines[-1].get_ydata(), y[:, i].numpy())
    with pytest.raises(InputError, match=r"`y`: expected shape \(T, 3\), one series"):
        plot.forecast(forecast(m=3), noise(30))


def test_pandas_history_is_read():
    """A Series or a DataFrame is data as well as a tensor is."""
    y = pd.Series(np.arange(8.0), index=pd.date_range("2020", periods=8))
    ax = plot.forecast(forecast(), y).axes[0]
    assert ax.lines[-1].get_ydata().tolist() == list(range(8))


def test_probabilities_have_no_fan():
    """A categorical forecast has no quantiles; the record's own sentence says so."""
    record = Forecast(probs=torch.full((4, 1, 3), 1 / 3), kind="exact")
    with pytest.raises(MethodError, match="quantile"):
        plot.forecast(record)


# ---------------------------------------------------------------------- training


def test_training_shows_its_records():
    """Held-out scores with the best marked, and each entry of z in grey under the whole."""
    scores, divergence, gradient = plot.training(trained()).axes
    best, objective, held_out = scores.lines
    assert best.get_xdata() == [100]
    assert held_out.get_ydata()[-1] == pytest.approx(-1.29)
    assert objective.get_ydata()[0] == pytest.approx(-10)
    assert scores.get_ylim()[0] > -3
    assert [len(line.get_ydata()) for line in divergence.lines] == [10, 10, 10]
    assert "2 of 2 entries used" in divergence.get_title(loc="left")
    assert gradient.lines[0].get_ydata()[0] == pytest.approx(0.3)


def test_training_without_records_is_refused():
    with pytest.raises(InputError, match="records"):
        plot.training(fitted())


# ---------------------------------------------------------------------- fit history


def test_history_is_drawn_against_the_best():
    """All starts are drawn; distances are to the best value of all of them."""
    other = (-95.0, -60.0, -39.0)
    left, right = plot.fit_history(fitted(restarts=(other,))).axes
    assert left.lines[0].get_ydata() == pytest.approx(other)
    assert left.lines[1].get_ydata() == pytest.approx((-90.0, -50.0, -40.0, -40.0))
    assert right.lines[1].get_ydata() == pytest.approx((51.0, 11.0, 1.0, 1.0))
    assert right.get_yscale() == "log"
    assert "best -39, converged" in left.get_title(loc="left")


def test_a_terrible_start_does_not_flatten_the_history():
    """The panel of values shows where most of them are; that of distances shows them all."""
    history = (-1e7, *(-200.0 + 10 * k for k in range(20)))
    left, right = plot.fit_history(fitted(history)).axes
    bottom, top = left.get_ylim()
    assert -2000 < bottom < -200
    assert top > history[-1]
    assert right.get_ylim()[1] > 1e6


@pytest.mark.parametrize("history", [(), (-3.0,), (float("nan"), -3.0)])
def test_short_histories_are_drawn_too(history):
    """Nothing, one value, or a NaN at the start: a figure all the same."""
    plot.fit_history(fitted(history)).savefig(io.BytesIO(), format="png", dpi=40)


def test_rows_are_counted_in_whole_numbers():
    """No tick at row 2.5; one row ahead is one row; grey lines are named."""
    fig = plot.smoothed(smoothed(T=20))
    assert all(float(tick).is_integer() for tick in fig.axes[-1].get_xticks())
    assert plot.forecast(forecast(h=1)).axes[0].get_title(loc="left").endswith("1 row ahead")
    left = plot.fit_history(fitted(restarts=((-95.0, -60.0), (-80.0, -39.0)))).axes[0]
    named = left.get_legend()
    assert [text.get_text() for text in named.get_texts()] == ["other starts", "the fit"]
    widths = [line.get_linewidth() for line in named.get_lines()]
    assert widths[0] < widths[1]


# ---------------------------------------------------------------------- gradient flow


def test_gradient_flow_draws_norms_and_the_radius():
    """Norms in powers of ten, forwards and backwards; in a linear model the radius lies on them."""
    ahead, back = plot.gradient_flow(flow()).axes
    powers = np.arange(30) * np.log10(0.5)
    for ax, wanted in ((ahead, powers), (back, powers[::-1])):
        norm, radius = ax.lines[:2]
        np.testing.assert_allclose(norm.get_ydata(), wanted, atol=1e-12)
        np.testing.assert_allclose(radius.get_ydata(), wanted, atol=1e-12)
    with pytest.raises(InputTypeError, match="expected a GradientFlow"):
        plot.gradient_flow(fitted())
    with pytest.raises(InputError, match="`factors`"):
        plot.gradient_flow(flow(), factors=(1.0, 0.1))


# ---------------------------------------------------------------------- particles


def test_lineages_are_those_of_the_ancestors():
    """From eight particles back to the one that all descend from, each edge once."""
    record = particles()
    above, below = plot.particles(record).axes
    sizes, mean = above.lines[0], below.lines[-1]
    np.testing.assert_array_equal(sizes.get_ydata(), record.ess)
    np.testing.assert_array_equal(mean.get_ydata(), record.mean[:, 0])
    marks = next(line for line in above.lines if line.get_label() == "resampled")
    assert marks.get_xdata().tolist() == [20]
    lost = next(line for line in above.lines if line.get_label() == "all weights lost")
    assert set(lost.get_xdata()) == {12}
    x, z = (np.reshape(part, (-1, 3))[:, :2] for part in below.lines[0].get_data())
    values = record.particles[..., 0].numpy()
    for row in range(1, 30):
        own = {tuple(pair) for pair in z[x[:, 1] == row]}
        if row > 20:
            wanted = {(values[row - 1, k], values[row, k]) for k in range(8)}
        elif row == 20:
            wanted = {(values[19, 0], values[20, k]) for k in range(8)}
        else:
            wanted = {(values[row - 1, 0], values[row, 0])}
        assert own == wanted


def test_particles_that_are_not_there_are_refused():
    """A record of another method, one that held none, a series and an entry that do not exist."""
    with pytest.raises(InputError, match="a record that holds particles"):
        plot.particles(filtered())
    bare = particles().having(keep="means")
    with pytest.raises(InputError, match="a record that holds particles"):
        plot.particles(bare)
    with pytest.raises(InputError, match="entry"):
        plot.particles(particles(), entry=1)
    with pytest.raises(InputError, match='keep="all"'):
        plot.particles(keeping(particles(), "last"))


def test_the_comparison_draws_what_the_table_says():
    """Scores per step, differences with their sign and two standard errors, RMSE where there is
    one; lines in the order of the table, named once."""
    shown = table()
    fig = plot.comparison(shown)
    left, middle, right = fig.axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["LDS", "EKF", "particles"]
    at = [[float(bars[0].get_xdata()[0]) for bars in ax.containers] for ax in fig.axes]
    assert at == [[-1.0, -0.9, -0.95], pytest.approx([0.1, 0.05]), [2.0, 1.0]]
    ends = middle.containers[0][2][0].get_segments()[0][:, 0]
    found = shown.differences()["EKF"]
    assert ends == pytest.approx([0.1 - 2 * found.stderr, 0.1 + 2 * found.stderr])
    drawn = left.containers[2][2][0].get_segments()[0][:, 0]
    assert drawn == pytest.approx([-0.95 - 0.1, -0.95 + 0.1])
    texts = [text.get_text() for text in middle.texts]
    assert texts == ["~ +0.100", "\u2265 +0.050"]
    kinds = [text.get_text() for text in fig.legends[0].get_texts()]
    assert kinds == ["exact", "approximate", "estimate"]
    assert "4 rows ahead" in right.get_title(loc="left")
