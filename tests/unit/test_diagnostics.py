"""Diagnostics: the statistics of the literature, to the digits of scipy and statsmodels."""

import numpy as np
import pytest
import torch
from oracles import DenseOracle
from statsmodels.stats.diagnostic import acorr_ljungbox
from statsmodels.stats.stattools import jarque_bera as sm_jarque_bera
from statsmodels.tsa.statespace.structural import UnobservedComponents
from statsmodels.tsa.stattools import acf, breakvar_heteroskedasticity_test

from statespace import LDS, datasets
from statespace.diagnostics import (
    autocorrelations,
    diagnose,
    heteroskedasticity,
    jarque_bera,
    ljung_box,
    standardise,
)
from statespace.errors import InputError, InputTypeError
from statespace.results import Filtered
from statespace.sequences import Index

NAN = float("nan")


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def record(innovations, y_cov, lengths=None, **more) -> Filtered:
    """A filtered record that holds nothing but what diagnostics read."""
    innovations, y_cov = torch.as_tensor(innovations), torch.as_tensor(y_cov)
    batch = innovations.shape[:-2]
    if lengths is None:
        lengths = torch.full(batch, innovations.shape[-2], dtype=torch.int64)
    return Filtered(
        innovations=innovations,
        y_cov=y_cov,
        kind="exact",
        log_likelihood=torch.zeros(batch),
        lengths=lengths,
        **more,
    )


# ---------------------------------------------------------------------- the three tests


@pytest.mark.parametrize("lags", [1, 5, 24])
@pytest.mark.parametrize("fitted", [0, 2])
def test_ljung_box_equals_statsmodels(lags: int, fitted: int):
    """Q and its p-value agree with statsmodels'; no degree of freedom left gives a NaN p-value."""
    e = noise(150) + 0.3
    ours = ljung_box(e, lags, fitted=fitted)
    theirs = acorr_ljungbox(e.numpy(), lags=[lags], model_df=fitted)
    assert float(ours.value) == pytest.approx(theirs["lb_stat"].item(), rel=1e-12)
    if lags > fitted:
        assert float(ours.p_value) == pytest.approx(theirs["lb_pvalue"].item(), rel=1e-10)
    else:
        assert ours.p_value.isnan()


def test_autocorrelations_equal_statsmodels():
    """r_k has the mean removed and n in the denominator, as in statsmodels' acf."""
    e = noise(80) + 5.0
    np.testing.assert_allclose(autocorrelations(e, 20).numpy(), acf(e.numpy(), nlags=20, fft=False))


def test_jarque_bera_equals_statsmodels():
    """Statistic and p-value agree with statsmodels', missing values left out."""
    e = noise(120) ** 3
    ours, theirs = jarque_bera(e), sm_jarque_bera(e.numpy())
    assert float(ours.value) == pytest.approx(theirs[0], rel=1e-12)
    assert float(ours.p_value) == pytest.approx(theirs[1], rel=1e-10)
    gaps = torch.cat([e[:50], torch.full((7,), NAN), e[50:]])
    assert float(jarque_bera(gaps).value) == pytest.approx(theirs[0], rel=1e-12)


@pytest.mark.parametrize("alternative", ["two-sided", "increasing", "decreasing"])
@pytest.mark.parametrize("length", [30, 100, 101, 301])
@pytest.mark.parametrize("gaps", [False, True])
def test_heteroskedasticity_equals_statsmodels(alternative: str, length: int, gaps: bool):
    """H and its p-value agree with statsmodels' break-variance test, also where values between
    are missing and the two thirds hold unequal numbers."""
    e = noise(length, seed=length) * torch.linspace(1.0, 1.2, length).double()
    if gaps:
        e[2:6] = e[length - 3] = NAN
    ours = heteroskedasticity(e, alternative=alternative)
    theirs = breakvar_heteroskedasticity_test(
        e.numpy(), subset_length=round(length / 3), alternative=alternative
    )
    assert float(ours.p_value) == pytest.approx(float(theirs[1]), rel=1e-9)
    ratio = float(theirs[0]) ** (-1 if alternative == "decreasing" else 1)  # they report 1 / H
    late, early = ours.df
    assert float(ours.value * late / early) == pytest.approx(ratio, rel=1e-12)


def test_gaps_and_padding_do_not_move_the_thirds():
    """Rows before the first value and after the last are not part of the series."""
    e = noise(60)
    padded = torch.cat([torch.full((11,), NAN), e, torch.full((40,), NAN)])
    assert heteroskedasticity(padded).value == heteroskedasticity(e).value
    assert ljung_box(padded, 8).value == pytest.approx(float(ljung_box(e, 8).value), rel=1e-12)


def test_series_are_independent_of_their_batch():
    """Batched equals looped, for every statistic, with gaps of their own."""
    e = noise(2, 3, 90, 2)
    e[noise(2, 3, 90, 2, seed=1) > 1.2] = NAN
    for function in (lambda x: ljung_box(x, 6), jarque_bera, heteroskedasticity):
        whole = function(e)
        for i in range(2):
            for j in range(3):
                for k in range(2):
                    one = function(e[i, j, :, k])
                    assert torch.allclose(whole.value[i, j, k], one.value, rtol=1e-12)
                    assert torch.allclose(whole.p_value[i, j, k], one.p_value, rtol=1e-9)


@pytest.mark.parametrize("series", [torch.zeros(40), torch.full((40,), NAN)])
def test_nothing_to_test_is_nan(series: torch.Tensor):
    """A constant or empty series gives NaN, never a p-value."""
    for found in (ljung_box(series, 5), jarque_bera(series), heteroskedasticity(series)):
        assert found.value.isnan()
        assert found.p_value.isnan()


def test_a_lag_without_pairs_is_left_out_with_its_degree_of_freedom():
    """Every second value missing: odd lags have no pair."""
    e = noise(200)
    e[1::2] = NAN
    found = ljung_box(e, 6)
    assert int(found.df[0]) == 3
    assert autocorrelations(e, 3)[1].isnan()


# ---------------------------------------------------------------------- rates


def rejected(p_values: torch.Tensor, level: float = 0.05) -> float:
    return float((p_values < level).double().mean())


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_false_alarms_come_at_the_stated_rate(missing: float):
    """White normal noise is rejected at 5 %: 4000 series, so a share within 5 standard errors
    (0.0172) of 0.05 but for one run in 1.7 million if the rate is exact. The seed is fixed."""
    e = noise(4000, 250, 1, seed=7)
    e[torch.rand(e.shape, generator=torch.Generator().manual_seed(8)) < missing] = NAN
    assert rejected(ljung_box(e, 10).p_value) == pytest.approx(0.05, abs=0.0172)
    assert rejected(heteroskedasticity(e).p_value) == pytest.approx(0.05, abs=0.0172)
    one_sided = heteroskedasticity(e, alternative="decreasing").p_value
    assert rejected(one_sided) == pytest.approx(0.05, abs=0.0172)


def test_false_alarms_of_normality_in_long_series():
    """Jarque-Bera is asymptotic: at T = 2500 its rate over 2000 series is within 5 standard errors
    (0.0244) of 5 %; at T = 30 it rejects less often."""
    assert rejected(jarque_bera(noise(2000, 2500, 1, seed=9)).p_value) == pytest.approx(
        0.05, abs=0.0244
    )
    assert rejected(jarque_bera(noise(2000, 30, 1, seed=9)).p_value) < 0.05


def test_each_fault_is_found_by_its_test():
    """Correlation, heavy tails and a growing variance are each rejected in over 90 % of series."""
    e = noise(300, 400, 1, seed=3)
    correlated = e[:, 1:] + 0.4 * e[:, :-1]
    heavy = e * (3 / noise(300, 400, 3, seed=5).square().sum(-1, keepdim=True)).sqrt()
    growing = e * torch.linspace(1, 2, 400).double()[:, None]
    assert rejected(ljung_box(correlated, 10).p_value) > 0.9
    assert rejected(jarque_bera(heavy).p_value) > 0.9
    assert rejected(heteroskedasticity(growing, alternative="increasing").p_value) > 0.9


# ---------------------------------------------------------------------- the summary


def test_diagnose_equals_statsmodels_on_a_diffuse_level():
    """A local level with an exact diffuse start: the three tests of statsmodels, which also skip
    the diffuse row."""
    rng = np.random.default_rng(11)
    y = np.cumsum(rng.normal(size=90)) + 2 * rng.normal(size=90)
    model = UnobservedComponents(y, "local level", use_exact_diffuse=True)
    theirs = model.smooth([4.0, 1.0])
    assert theirs.nobs_diffuse == 1
    one, zero = np.eye(1), np.zeros(1)
    oracle = DenseOracle(y[:, None], one, zero, one, one, zero, 4 * one, zero, one, diffuse=[True])
    p = oracle.predicted()
    assert np.isinf(p.y_cov[0, 0, 0])
    ours = diagnose(record(y[:, None] - p.y_mean, p.y_cov))
    assert int(ours.num_values) == 89
    assert ours.lags == 10
    for found, expected in (
        (ours.ljung_box, theirs.test_serial_correlation("ljungbox")[0, :, -1]),
        (ours.normality, theirs.test_normality("jarquebera")[0, :2]),
        (ours.heteroskedasticity, theirs.test_heteroskedasticity("breakvar")[0]),
    ):
        assert [found.value.item(), found.p_value.item()] == pytest.approx(list(expected), rel=1e-7)


def test_the_nile_has_the_published_diagnostics():
    """Durbin and Koopman (2012, section 2.12.2) on the local level of the Nile: skewness -0.03,
    kurtosis 3.09, H(33) = 0.61, Q(9) = 8.84, N = 0.05."""
    level = LDS(1, 1, A=[[1.0]], C=[[1.0]], d=[0.0], Q=[[1469.1]], R=[[15099.0]], initial="diffuse")
    found = diagnose(level.filter(datasets.nile()), lags=9)
    rounded = [
        round(x.item(), 2)
        for x in (
            found.skewness,
            found.kurtosis,
            found.heteroskedasticity.value,
            found.ljung_box.value,
            found.normality.value,
        )
    ]
    assert rounded == [-0.03, 3.09, 0.61, 8.84, 0.05]
    assert found.heteroskedasticity.df[0] == 33


def test_diagnose_reads_ragged_records():
    """Padding is not data: a series in a padded batch is diagnosed as by itself."""
    e = noise(2, 60, 1)
    cov = torch.full((2, 60, 1, 1), 2.25, dtype=torch.float64)
    both = diagnose(record(e, cov, lengths=torch.tensor([60, 41])), lags=5)
    alone = diagnose(record(e[1, :41], cov[1, :41]), lags=5)
    assert both.num_values.tolist() == [[60], [41]]
    for name in ("mean", "variance", "skewness", "kurtosis"):
        assert torch.allclose(getattr(both, name)[1], getattr(alone, name))
    for name in ("ljung_box", "normality", "heteroskedasticity"):
        assert torch.allclose(getattr(both, name).p_value[1], getattr(alone, name).p_value)


def test_diagnose_reads_univariate_records():
    """Data without a feature axis give the same answers."""
    e, cov = noise(50, 1), torch.ones(50, 1, 1, dtype=torch.float64)
    flat, wide = diagnose(record(e, cov, univariate=True)), diagnose(record(e, cov))
    assert flat.ljung_box.p_value.shape == (1,)
    assert torch.equal(flat.ljung_box.p_value, wide.ljung_box.p_value)
    assert (flat.names, wide.names) == (("y",), ("y[0]",))


def test_the_table_names_series_and_entries_and_stays_short():
    """Rows are labelled by the ids and names of the data; a long table is cut, and says so."""
    cov = torch.eye(2, dtype=torch.float64).expand(3, 40, 2, 2)
    index = Index(names=("flow", "rain"), ids=("a", "b", "c"))
    lines = str(diagnose(record(noise(3, 40, 2), cov, index=index))).splitlines()
    assert [line.split("  ")[0] for line in lines[3:]] == [
        f"{one}: {name}" for one in "abc" for name in ("flow", "rain")
    ]
    assert len({len(line) for line in lines[1:]}) == 1
    many = str(diagnose(record(noise(30, 40, 1), torch.ones(30, 40, 1, 1))))
    assert "series 19: y[0]" in many
    assert many.splitlines()[-1] == "... and 10 more rows"


# ---------------------------------------------------------------------- refusals


def test_wrong_input_is_a_sentence():
    """Each refusal names the argument, what was expected and what came."""
    e = noise(20)
    with pytest.raises(InputError, match=r"`lags`: expected from 1 to T - 1 = 19, received 20"):
        ljung_box(e, 20)
    with pytest.raises(InputTypeError, match="`lags`: expected an integer, received float"):
        autocorrelations(e, 2.0)
    with pytest.raises(InputError, match="`fitted`"):
        ljung_box(e, 2, fitted=-1)
    with pytest.raises(InputError, match="`alternative`: expected one of"):
        heteroskedasticity(e, alternative="upwards")
    with pytest.raises(InputError, match="`e`: expected shape"):
        jarque_bera(torch.tensor(1.0))
    with pytest.raises(InputError, match="`y_cov`: expected shape"):
        standardise(noise(20, 2), noise(20, 2))
    with pytest.raises(InputError, match="innovations and their covariances"):
        diagnose(
            Filtered(kind="estimate", log_likelihood=torch.tensor(0.0), lengths=torch.tensor(3))
        )
    with pytest.raises(InputError, match="at least 2 rows"):
        diagnose(record(noise(1, 1), torch.ones(1, 1, 1)))
