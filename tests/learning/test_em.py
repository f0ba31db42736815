"""EM: it rises, says why it stopped, and ends where the likelihood is highest."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import statespace as ss
from statespace.errors import InputError, InputTypeError, MethodError
from statespace.interface import Maximisable
from statespace.learning.objective import Objective
from statespace.parameters import InverseWishart, Normal


def factor_data(rows: int = 200, m: int = 5, n: int = 2, *, scale: float = 1.0) -> torch.Tensor:
    g = torch.Generator().manual_seed(1)
    loadings = torch.randn(m, n, generator=g, dtype=torch.float64)
    z = torch.randn(rows, n, generator=g, dtype=torch.float64)
    return scale * (z @ loadings.mT + 0.5 * torch.randn(rows, m, generator=g).double() + 3)


def factor_model(structure: str) -> ss.LDS:
    return ss.LDS(
        2,
        5,
        A=ss.Fixed(torch.zeros(2, 2)),
        Q=ss.Fixed(torch.eye(2)),
        R=ss.Param(structure=structure),
        initial="stationary",
    )


def panel(series: int = 6, rows: int = 25, seed: int = 0, **kwargs) -> torch.Tensor:
    true = ss.LDS(2, 3, seed=seed, **kwargs)
    y = true.sample(rows, (series,), seed=seed + 1).y
    gone = torch.rand(y.shape, generator=torch.Generator().manual_seed(2)) < 0.15
    return torch.where(gone, torch.nan, y)


@pytest.mark.parametrize("learner", [ss.EM(), ss.EM(polish=False, tol=1e-9, max_iter=2000)])
def test_probabilistic_pca_in_closed_form(learner):
    """With A = 0, Q = I and a scalar R the maximum is that of Tipping and Bishop (1999)."""
    y = factor_data()
    eigenvalues = torch.linalg.eigvalsh(torch.cov(y.mT, correction=0)).flip(0)
    rows, m, n = 200, 5, 2
    noise = eigenvalues[n:].mean()
    best = (
        -0.5
        * rows
        * (m * math.log(2 * math.pi) + eigenvalues[:n].log().sum() + (m - n) * noise.log() + m)
    )
    lds = factor_model("scalar")
    fit = lds.fit(y, learner=learner, seed=0)
    assert fit.converged, fit.reason
    assert fit.log_likelihood == pytest.approx(float(best), abs=1e-5)
    assert float(lds.R[0, 0].detach()) == pytest.approx(float(noise), rel=1e-4)
    torch.testing.assert_close(lds.d.detach(), y.mean(0), rtol=1e-4, atol=1e-4)
    loadings = lds.C.detach()
    leading = torch.linalg.eigvalsh(loadings.mT @ loadings).flip(0)
    torch.testing.assert_close(leading, eigenvalues[:n] - noise, rtol=1e-3, atol=1e-3)


def test_factor_analysis_satisfies_its_equations():
    """With a diagonal R the maximum has S^-1-weighted loadings and diag(C C' + R) = diag(S)."""
    y = factor_data()
    lds = factor_model("diag")
    assert lds.fit(y, seed=0).converged
    c, r = lds.C.detach(), lds.R.detach()
    s = torch.cov(y.mT, correction=0)
    sigma = c @ c.mT + r
    torch.testing.assert_close(sigma.diagonal(), s.diagonal(), rtol=1e-5, atol=1e-5)
    # S Sigma^-1 C = C (Lawley and Maxwell 1971)
    torch.testing.assert_close(s @ torch.linalg.solve(sigma, c), c, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("initial", ["estimate", "stationary"])
def test_every_iteration_rises(initial):
    """The history of EM and polish never falls, with gaps in every series."""
    y = panel()
    fit = ss.LDS(2, 3, initial=initial).fit(y, learner=ss.EM(max_iter=25, tol=0.0), seed=0)
    assert np.diff(fit.history).min() > -1e-8 * abs(fit.log_likelihood)
    assert fit.history[-1] == pytest.approx(fit.log_likelihood, abs=1e-8)


def test_the_result_is_the_likelihood_of_the_model():
    """log_likelihood, num_params, AIC and BIC are those of the fitted model."""
    y = panel()
    lds = ss.LDS(2, 3)
    fit = lds.fit(y, seed=3)
    assert fit.model is lds
    assert fit.seed == 3
    assert float(lds.log_likelihood(y).sum().detach()) == pytest.approx(fit.log_likelihood)
    assert fit.num_params == 4 + 6 + 3 + 3 + 6 + 2 + 3 == len(fit.parameters)
    assert fit.n_values == int((~torch.isnan(y)).sum())
    assert fit.aic == -2 * fit.log_likelihood + 2 * fit.num_params
    assert fit.seconds > 0
    assert "EM" in fit.summary()


def test_sampled_truth_is_recovered():
    """From 20 series of 100 rows A's eigenvalues and the innovations come back."""
    true = ss.LDS(
        2,
        3,
        A=[[0.9, 0.2], [-0.2, 0.8]],
        C=torch.eye(3, 2),
        Q=0.5 * torch.eye(2),
        R=0.3 * torch.eye(3),
        d=[1.0, -2.0, 0.0],
        initial="stationary",
    )
    y = true.sample(100, (20,), seed=0).y
    lds = ss.LDS(2, 3, initial="stationary")
    fit = lds.fit(y, seed=0)
    assert fit.converged, fit.reason
    assert fit.log_likelihood > float(true.log_likelihood(y).sum().detach())
    found = torch.linalg.eigvals(lds.A.detach())
    wanted = torch.linalg.eigvals(true.A.detach())
    assert float((found.abs().sort().values - wanted.abs().sort().values).abs().max()) < 0.03
    torch.testing.assert_close(lds.d.detach(), true.d.detach(), atol=0.35, rtol=0)


@pytest.mark.parametrize("c", [1e-8, 1e-4, 1e4, 1e8])
def test_units_do_not_matter(c: float):
    """Scaling y by c shifts the log-likelihood by -N log c and leaves A alone."""
    y = panel(series=2, rows=40)[0]
    count = int((~torch.isnan(y)).sum())
    fits, dynamics = [], []
    for scale in (1.0, c):
        lds = ss.LDS(1, 3)
        fits.append(lds.fit(scale * y, seed=0))
        dynamics.append(float(lds.A.detach()))
    assert all(f.converged for f in fits)
    shift = fits[0].log_likelihood - fits[1].log_likelihood
    assert shift == pytest.approx(count * math.log(c), rel=1e-9)
    assert dynamics[0] == pytest.approx(dynamics[1], abs=1e-4)


def test_columns_in_different_units_and_far_from_zero():
    """One column in 1e-6, one in 1e6, one lifted by 1e6: the same maximum."""
    y = panel(series=2, rows=40)[0]
    plain = ss.LDS(1, 3).fit(y, seed=0)
    units = torch.tensor([1e-6, 1e6, 1.0], dtype=torch.float64)
    mixed = ss.LDS(1, 3).fit(y * units + torch.tensor([0.0, 0.0, 1e6]), seed=0)
    shift = float((units.log() * (~torch.isnan(y)).sum(0)).sum())
    assert mixed.converged
    assert mixed.log_likelihood + shift == pytest.approx(plain.log_likelihood, abs=1e-5)


def test_series_of_unequal_length_are_all_heard():
    """A list of series and the same series padded with NaN give one fit."""
    y = [s[: 25 - 4 * i] for i, s in enumerate(panel(series=4))]
    padded = torch.full((4, 25, 3), torch.nan, dtype=torch.float64)
    for i, s in enumerate(y):
        padded[i, : len(s)] = s
    one = ss.LDS(1, 3, initial="stationary").fit(y, seed=0)
    lengths = torch.tensor([len(s) for s in y])
    two = ss.LDS(1, 3, initial="stationary").fit(padded, lengths=lengths, seed=0)
    assert one.log_likelihood == pytest.approx(two.log_likelihood, rel=1e-12)


def test_models_of_a_batch_are_fitted_each_to_its_series():
    """Leading axes on A make a model for each series, in units as different as they are."""
    units = torch.tensor([1.0, 1e6, 1e-6], dtype=torch.float64)
    y = panel(series=3, rows=60)[..., :1] * units[:, None, None]
    together = ss.LDS(1, 1, A=ss.Param(torch.zeros(3, 1, 1)), initial="stationary")
    fit = together.fit(y, seed=0)
    alone = []
    for series in y:
        lds = ss.LDS(1, 1, A=[[0.0]], initial="stationary")
        alone.append(lds.fit(series, seed=0).log_likelihood)
    assert fit.log_likelihood == pytest.approx(sum(alone), abs=1e-5)
    assert "A[0,0] (model 2)" in fit.parameters


def test_float32_ends_where_float64_does():
    """In float32 the fit ends within rounding of the float64 one, in float32 parameters."""
    y = panel(series=3, rows=30)
    fine = ss.LDS(1, 3, initial="stationary").fit(y, seed=0)
    coarse = ss.LDS(1, 3, initial="stationary", dtype=torch.float32)
    fit = coarse.fit(y, seed=0)
    assert coarse.A.dtype == torch.float32
    assert fit.converged, fit.reason
    assert fit.log_likelihood == pytest.approx(fine.log_likelihood, abs=0.02)


def test_in_float32_rounding_is_no_lack_of_convergence(monkeypatch):
    """Where the likelihood is flat to its seventh digit the slope decides, as quickly as ever."""
    asked, gradient = [], Objective.gradient
    monkeypatch.setattr(Objective, "gradient", lambda o, x: (asked.append(1), gradient(o, x))[1])
    y = torch.log(ss.datasets.air_passengers())
    fits, costs = [], []
    for dtype in (torch.float64, torch.float32):
        asked.clear()
        fits.append(ss.LDS(1, 1, initial="stationary", dtype=dtype).fit(y, seed=0))
        costs.append(len(asked))
    assert all(f.converged for f in fits), fits[1].reason
    assert fits[1].log_likelihood == pytest.approx(fits[0].log_likelihood, abs=1e-3)
    assert costs[1] < 2 * costs[0]


def test_the_cap_is_not_called_converged():
    """At the last allowed iteration the status is not converged, and the reason says cap."""
    fit = ss.LDS(2, 3).fit(panel(), learner=ss.EM(max_iter=2, polish=False), seed=0)
    assert not fit.converged
    assert "cap of 2" in fit.reason
    assert len(fit.history) == 3


class Wrong(ss.LDS):
    """An LDS whose M-step makes R ten times too large from the third call on."""

    calls = 0

    def maximise(self, statistics):
        super().maximise(statistics)
        self.calls += 1
        if self.calls > 2:
            self.slots["R"].set_(10 * self.R.detach())


def test_a_fall_is_said_and_taken_back():
    """Where the likelihood falls, the fit is not converged, says by how much, and ends above."""
    lds, y = Wrong(1, 3), panel()
    fit = lds.fit(y, learner=ss.EM(polish=False), seed=0)
    assert not fit.converged
    assert "fell by" in fit.reason
    assert fit.log_likelihood == max(fit.history)
    assert float(lds.log_likelihood(y).sum().detach()) == pytest.approx(fit.log_likelihood)


def test_polish_never_ends_lower():
    """Polish raises what EM left, and its score is small."""
    y = panel(series=1, rows=30)[0]
    alone = ss.EM(polish=False, tol=1e-5)
    plain = ss.LDS(1, 3, initial="stationary").fit(y, learner=alone, seed=0)
    assert plain.converged, plain.reason
    polished = ss.LDS(1, 3, initial="stationary").fit(y, seed=0)
    assert polished.log_likelihood > plain.log_likelihood
    assert "score is small" in polished.reason


def test_restarts_keep_the_best_and_all_histories():
    """Of three starts the highest end is kept; the same seed gives the same fit."""
    y = panel(series=1, rows=30)[0][:, :2]
    runs = []
    for _ in range(2):
        fit = ss.LDS(1, 2, initial="stationary").fit(y, learner=ss.EM(restarts=2), seed=7)
        runs.append(fit)
        assert len(fit.restarts) == 2
        assert fit.log_likelihood >= max(max(h) for h in fit.restarts) - 1e-9
    assert runs[0].history == runs[1].history


def test_start_values_that_are_given_are_used():
    """With no iteration at all the fitted model is the given one."""
    true = ss.LDS(2, 3, seed=0)
    before = {k: s.value().detach().clone() for k, s in true.slots.items()}
    fit = true.fit(panel(), learner=ss.EM(max_iter=0, polish=False), seed=0)
    assert not fit.converged
    for name, slot in true.slots.items():
        assert torch.equal(slot.value().detach(), before[name])


def test_held_and_tied_parameters_stay_so_through_polish():
    """EM and polish leave held entries bit for bit, and ties equal."""
    a = torch.tensor([[0.8, 0.0], [0.1, 0.5]], dtype=torch.float64)
    lds = ss.LDS(
        2,
        3,
        A=ss.Param(a, free=[[True, False], [True, True]]),
        C=ss.Param(
            [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]],
            labels=[[0, 0], [0, 0], [1, 1]],
            free=[[False, False], [False, False], [True, True]],
        ),
        R=ss.Param(structure="scalar"),
        initial="stationary",
    )
    assert lds.fit(panel(), seed=0).converged
    assert lds.A[0, 1] == 0.0
    assert torch.equal(lds.C[:2].detach(), torch.eye(2, dtype=torch.float64))
    assert lds.C[2, 0] == lds.C[2, 1]
    assert lds.R[0, 0] == lds.R[2, 2]
    assert lds.R[0, 1] == 0.0


def test_priors_are_climbed_and_said():
    """With priors the posterior rises; the reason says so; the log-likelihood is without them."""
    y = panel(series=4, rows=15)
    lds = ss.LDS(
        1,
        3,
        A=ss.Param([[0.5]], prior=Normal(0.0, 0.01)),
        R=ss.Param(torch.eye(3), prior=InverseWishart(5.0, torch.eye(3))),
    )
    fit = lds.fit(y, seed=0)
    assert "log posterior" in fit.reason
    assert np.diff(fit.history).min() > -1e-8
    assert abs(float(lds.A.detach())) < 0.05
    assert fit.log_likelihood == pytest.approx(float(lds.log_likelihood(y).sum().detach()))


def test_one_series_leaves_the_first_state_to_the_stationary_distribution():
    """From one series the covariance of z_1 cannot be told: it does not collapse, and is said."""
    y = panel(series=1, rows=60)[0]
    lds = ss.LDS(2, 3)
    fit = lds.fit(y, seed=0)
    assert fit.converged
    assert "initial_cov" in fit.reason
    assert fit.num_params == 4 + 6 + 3 + 3 + 6
    a, q, p = lds.A.detach(), lds.Q.detach(), lds.initial_cov.detach()
    torch.testing.assert_close(a @ p @ a.mT + q, p)
    assert lds.initial_kind == "estimate"
    assert all(p.requires_grad for p in lds.parameters())


def test_a_variance_at_zero_is_reached():
    """A level that does not move: polish ends at its boundary, not short of it."""
    g = torch.Generator().manual_seed(0)
    e = torch.randn(61, 1, generator=g, dtype=torch.float64)
    y = 5 + e[1:] - 0.5 * e[:-1]
    lds = ss.LDS.local_level().replace(R=None)
    fit = lds.fit(y, seed=0)
    assert fit.converged, fit.reason
    assert float(lds.Q.detach()) < 1e-6
    assert math.isnan(fit.standard_errors["Q[0,0]"])
    assert "boundary" in fit.standard_errors.reasons["Q[0,0]"]


@pytest.mark.parametrize("kind", ["constant", "zero", "copy"])
@pytest.mark.parametrize("learner", [ss.EM(), ss.Gradient(5, optimizer="lbfgs")])
def test_degenerate_columns_are_named(kind, learner):
    """Not converged, never NaN, and the column is named."""
    y = panel(series=1, rows=40)[0].nan_to_num()[:, :2]
    other = {"constant": torch.full((40, 1), 3.0), "zero": torch.zeros(40, 1), "copy": y[:, :1]}
    lds = ss.LDS(1, 3)
    fit = lds.fit(torch.cat([y, other[kind].double()], 1), learner=learner, seed=0)
    assert not fit.converged
    assert math.isfinite(fit.log_likelihood)
    assert "column 2" in fit.reason
    assert "rises without bound" in fit.reason
    assert len(fit.history) < 30, "it is stopped on the way, not at the last digit of a float"
    assert fit.warnings
    assert "olumn 2" in fit.warnings[0]
    assert all(bool(torch.isfinite(s.value()).all()) for s in lds.slots.values())


def test_many_degenerate_columns_are_named_together():
    """A piano has keys that nobody touches: one sentence for all of them."""
    y = torch.zeros(20, 6, dtype=torch.float64)
    y[::2, 3] = 1.0
    y[:, 5] = 2.5
    fit = ss.NoisyRNN(1, 6, seed=0).fit(y, learner=ss.Gradient(1), seed=0)
    assert fit.warnings == (
        "Columns 0 to 2, 4 of y are zero throughout",
        "Column 5 of y is constant (2.5)",
    )


@pytest.mark.parametrize("learner", [ss.EM(), ss.Gradient(5)])
def test_a_column_without_data_is_refused_before_anything_changes(learner):
    """All-NaN in one column: an error that names it, and the model is as it was."""
    y = panel(series=2, rows=10)
    y[..., 1] = torch.nan
    lds = ss.LDS(1, 3)
    with pytest.raises(InputError, match="column 1"):
        lds.fit(y, learner=learner)
    assert not any(s.is_set for s in lds.slots.values() if s.n_free)


def test_a_column_without_data_in_one_series_is_refused_only_for_its_own_model():
    """Pooled over series it can be learned; with one model for each series it cannot."""
    y = panel(series=2, rows=20)
    y[1, :, 2] = torch.nan
    assert math.isfinite(ss.LDS(1, 3, initial="stationary").fit(y, seed=0).log_likelihood)
    own = ss.LDS(1, 3, A=ss.Param(torch.zeros(2, 1, 1)))
    with pytest.raises(InputError, match="series 1"):
        own.fit(y)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"max_iter": -1}, "max_iter"),
        ({"max_iter": 2.5}, "max_iter"),
        ({"tol": -1.0}, "tol"),
        ({"restarts": -1}, "restarts"),
        ({"tol": math.nan}, "tol"),
    ],
)
def test_settings_out_of_range(settings, word):
    """The sentence names the setting."""
    with pytest.raises(InputError, match=word):
        ss.EM(**settings)


def test_models_without_an_m_step_are_refused_with_the_way_out():
    """The refusal names Gradient."""
    refusal = ss.EM().refusal(torch.nn.Linear(1, 1), None, None)
    assert refusal is not None
    assert "Gradient" in refusal
    assert ss.EM().refusal(ss.LDS(1, 1), None, None) is None
    assert issubclass(ss.LDS, Maximisable)
    assert MethodError is not None


def test_progress_is_reported_and_checked():
    """A function hears every iteration; anything that is no function is refused."""
    heard = []
    fit = ss.LDS(1, 3, initial="stationary").fit(
        panel(), seed=0, progress=lambda i, value: heard.append((i, value))
    )
    assert [v for _, v in heard] == pytest.approx(fit.history[1:])
    with pytest.raises(InputTypeError, match="progress"):
        ss.LDS(1, 3).fit(panel(), progress="yes")


def test_validation_data_are_scored_in_the_reason():
    """Held-out series are not trained on; their log-likelihood is reported."""
    y = panel()
    lds = ss.LDS(1, 3, initial="stationary")
    fit = lds.fit(y[:4], validation=y[4:], seed=0)
    value = float(lds.log_likelihood(y[4:]).sum().detach())
    assert f"{value:.6g}" in fit.reason


def test_an_interrupted_fit_leaves_the_model_as_it_was():
    """An exception out of progress restores the parameters, and what may be learned."""
    lds = ss.LDS(1, 3)

    def stop(i: int, value: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lds.fit(panel(series=1)[0], progress=stop)
    assert not any(s.is_set for s in lds.slots.values() if s.n_free)
    assert lds.initial_kind == "estimate"
