"""Structural components: what they say about a series, written out by hand, and how they add."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from statespace.errors import InputError, InputTypeError
from statespace.interface import Context
from statespace.learning import EM, Gradient
from statespace.models import LDS
from statespace.models.lds import structural_start
from statespace.parameters import Fixed, Param, Varying
from statespace.sequences import read_sequences

F64 = torch.float64


def with_values(model: LDS, **values: object) -> LDS:
    """The model with parameters set, `Q` as the list of its learned variances."""
    for name, value in values.items():
        slot = model.slot(name)
        if name == "Q":
            base, m = slot.basis()
            value = (base + m @ torch.tensor(value, dtype=F64)).view(slot.event)
        slot.set_(value)
    return model


def signal_covariance(model: LDS, num_steps: int) -> Tensor:
    """Cov(y_s, y_t) of the first rows, from A, C, Q and the first state, by brute force."""
    prior = model.prior()
    a, c, q, p = model.A, model.C, model.Q, prior.covariance.matrix
    moments, rows = [p], []
    for _ in range(num_steps - 1):
        moments.append(a @ moments[-1] @ a.mT + q)
    for s in range(num_steps):
        for t in range(num_steps):
            early, late = min(s, t), max(s, t)
            shifted = torch.linalg.matrix_power(a, late - early) @ moments[early]
            rows.append((c @ shifted @ c.mT)[0, 0])
    return torch.stack(rows).view(num_steps, num_steps).detach()


def free_run(model: LDS, start: list[float], num_steps: int) -> Tensor:
    """y without any noise, from one first state."""
    z, out = torch.tensor(start, dtype=F64), []
    for _ in range(num_steps):
        out.append((model.C @ z)[0])
        z = model.A @ z
    return torch.stack(out).detach()


class TestComponents:
    """Each component against its defining equation."""

    def test_local_level_stands_still(self):
        """Without noise a level does not move; its variance grows by Q a step."""
        level = with_values(LDS.local_level(), Q=[2.0])
        assert free_run(level, [3.0], 4).tolist() == [3.0] * 4
        assert level.initial_kind == "diffuse"
        assert float(level.Q.detach()) == pytest.approx(2.0)

    def test_local_trend_is_a_line(self):
        """Without noise a trend is a straight line."""
        trend = with_values(LDS.local_trend(), Q=[1.0, 2.0])
        assert free_run(trend, [1.0, 0.5], 5).tolist() == [1.0, 1.5, 2.0, 2.5, 3.0]
        assert torch.allclose(trend.Q, torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=F64))

    @pytest.mark.parametrize("period", [2, 4, 12])
    def test_seasonal_sums_to_zero(self, period):
        """Without noise the effects repeat after a round and sum to zero over it."""
        seasonal = with_values(LDS.seasonal(period), Q=[1.0])
        y = free_run(seasonal, list(range(1, period)), 3 * period)
        assert torch.allclose(y[period:], y[:-period])
        assert torch.allclose(y.unfold(0, period, 1).sum(-1), torch.zeros(1, dtype=F64))
        assert seasonal.num_params == 1

    def test_undamped_cycle_turns(self):
        """Without noise an undamped cycle is a cosine of its period."""
        cycle = LDS.cycle(period=8, damped=False)
        y = free_run(with_values(cycle, Q=[1.0]), [1.0, 0.0], 17)
        t = torch.arange(17, dtype=F64)
        assert torch.allclose(y, (2 * math.pi * t / 8).cos(), atol=1e-12)
        assert (cycle.num_params, cycle.initial_kind) == (1, "diffuse")

    def test_damped_cycle_is_stationary(self):
        """Its autocovariance is rho^k cos(l k) Q / (1 - rho^2)."""
        rho, angle = 0.9, 2 * math.pi / 7
        cycle = with_values(LDS.cycle(period=7), Q=[2.0])
        k = torch.arange(6, dtype=F64)
        want = rho**k * (angle * k).cos() * 2.0 / (1 - rho**2)
        lag = (torch.arange(6)[:, None] - torch.arange(6)).abs()
        assert torch.allclose(signal_covariance(cycle, 6), want[lag])
        assert cycle.num_params == 3

    def test_damped_cycle_stays_a_rotation(self):
        """Whatever its two learned numbers become, A turns and shrinks."""
        cycle = LDS.cycle(period=7)
        theta = cycle.slot("A").theta
        assert theta is not None
        with torch.no_grad():
            theta.copy_(torch.tensor([0.3, -0.8]))
        a = cycle.A.detach()
        assert torch.allclose(a @ a.mT, (0.3**2 + 0.8**2) * torch.eye(2, dtype=F64))

    @pytest.mark.parametrize(
        ("phi", "theta"),
        [([0.7], []), ([1.4, -0.7], [-0.15]), ([], [0.5, 0.3]), ([0.5], [0.4, 0.3, -0.2])],
    )
    def test_arma(self, phi, theta):
        """Its covariance is that of sum_j psi_j w_{t-j}, psi the expansion of theta(L) / phi(L)."""
        model = LDS.arma(len(phi), len(theta))
        n = model.latent_dim
        if phi:
            a = torch.zeros(n, n)
            a[0, : len(phi)] = torch.tensor(phi)
            with_values(model, A=a)
        c = torch.tensor([1.0, *theta, *[0.0] * (n - 1 - len(theta))])
        if theta:
            with_values(model, C=c[None])
        with_values(model, Q=[3.0])
        psi = [1.0]
        for j in range(1, 400):
            own = theta[j - 1] if j <= len(theta) else 0.0
            psi.append(own + sum(p * psi[j - i] for i, p in enumerate(phi, 1) if i <= j))
        series = torch.tensor(psi, dtype=F64)
        want = torch.stack([3.0 * (series[k:] * series[: len(series) - k]).sum() for k in range(5)])
        lag = (torch.arange(5)[:, None] - torch.arange(5)).abs()
        assert torch.allclose(signal_covariance(model, 5), want[lag], atol=1e-6)
        assert model.num_params == len(phi) + len(theta) + 1
        assert model.initial_kind == "stationary"

    def test_regression_on_inputs(self):
        """Inputs act through D, and there is no state."""
        model = LDS.regression(2)
        assert (model.latent_dim, model.input_dim, model.num_params) == (0, 2, 2)

    def test_regression_alone_is_least_squares(self):
        """Without any state, log p(y) is that of independent residuals."""
        u = torch.randn(30, 2, dtype=F64, generator=torch.Generator().manual_seed(2))
        y = torch.randn(30, 1, dtype=F64, generator=torch.Generator().manual_seed(3))
        model = LDS.regression(2).replace(D=[[1.0, -2.0]], R=[[0.5]])
        mean = u @ torch.tensor([[1.0], [-2.0]], dtype=F64)
        want = torch.distributions.Normal(mean, 0.5**0.5).log_prob(y).sum()
        assert torch.allclose(model.log_likelihood(y, u), want)

    def test_regression_on_columns(self):
        """Columns stand in C, coefficients in the state; constant, or walking."""
        x = torch.randn(9, 3, dtype=F64)
        still, walking = LDS.regression(columns=x), LDS.regression(columns=x, time_varying=True)
        assert torch.equal(still.C[:, 0], x)
        assert (still.num_params, walking.num_params) == (0, 3)
        assert not still.Q.any()

    def test_no_observation_noise(self):
        """A component has R = 0, held; replace(R=None) frees it."""
        for model in (LDS.local_level(), LDS.seasonal(3), LDS.cycle(5), LDS.arma(1, 1)):
            assert model.R.tolist() == [[0.0]]
            assert model.replace(R=None).num_params == model.num_params + 1

    def test_float32(self):
        """Every constructor takes a dtype."""
        model = LDS.local_trend(dtype=torch.float32) + LDS.seasonal(4, dtype=torch.float32)
        assert (model.dtype, model.A.dtype) == (torch.float32, torch.float32)

    @pytest.mark.parametrize(
        ("make", "error", "words"),
        [
            (lambda: LDS.seasonal(1), InputError, "`period`: expected at least 2"),
            (lambda: LDS.seasonal(12.0), InputTypeError, "an integer"),
            (lambda: LDS.cycle(2), InputError, "above 2"),
            (lambda: LDS.cycle(damped=False), InputError, "Give period="),
            (lambda: LDS.arma(0, 0), InputError, "White noise is R"),
            (lambda: LDS.arma(-1), InputError, "at least 0"),
            (lambda: LDS.regression(), InputError, "neither"),
            (lambda: LDS.regression(2, columns=torch.ones(3, 2)), InputError, "both"),
            (lambda: LDS.regression(columns=torch.ones(3)), InputError, r"shape \(T, k\)"),
        ],
    )
    def test_refusals(self, make, error, words):
        """What no component can be is refused with a sentence."""
        with pytest.raises(error, match=words):
            make()


class TestSums:
    """A sum is the model of the sum of independent components."""

    def test_covariances_add(self):
        """Cov of the sum = sum of the covariances, and R is one learned number."""
        first = with_values(LDS.cycle(period=7), Q=[2.0])
        second = with_values(LDS.arma(1), A=[[0.6]], Q=[1.5])
        total = first + second
        want = signal_covariance(first, 6) + signal_covariance(second, 6)
        assert torch.allclose(signal_covariance(total, 6), want)
        assert total.slot("R").n_free == 1
        assert not total.slot("R").is_set
        assert total.num_params == first.num_params + second.num_params + 1

    def test_order_is_kept(self):
        """States stand in the order of the components, and the start of each goes along."""
        total = LDS.local_level() + LDS.seasonal(4) + LDS.arma(2)
        assert total.kinds == ("diffuse",) * 4 + ("stationary",) * 2
        assert total.C.tolist() == [[1.0, 1.0, 0.0, 0.0, 1.0, 0.0]]
        assert total.slot("Q").names() == ["Q[0,0]", "Q[1,1]", "Q[4,4]"]

    def test_python_sums_them_too(self):
        """sum() begins with 0, which adds nothing; of one component it makes a new model."""
        level, season = LDS.local_level(), LDS.seasonal(4)
        total = sum([level, season])
        assert torch.equal(total.C, (level + season).C)
        alone = sum([level])
        assert alone is not level
        assert (alone.num_params, alone.kinds) == (level.num_params, level.kinds)
        with pytest.raises(TypeError):
            1 + level

    def test_ties_stay_inside(self):
        """Equal labels of two components tie nothing between them."""
        total = LDS.cycle(5) + LDS.cycle(9)
        assert total.slot("A").n_free == 4
        assert total.slot("Q").n_free == 2
        assert torch.allclose(total.A[:2, :2], LDS.cycle(5).A)
        assert torch.allclose(total.A[2:, 2:], LDS.cycle(9).A)

    def test_one_noise(self):
        """However many are added, there is one R; one that is learned already is taken over."""
        noisy = LDS.local_level().replace(R=Param([[2.0]]))
        assert float((noisy + LDS.seasonal(3)).R.detach()) == pytest.approx(2.0)
        assert (LDS.seasonal(3) + LDS.local_level() + LDS.cycle(5)).slot("R").n_free == 1

    def test_inputs_are_shared(self):
        """Components that read the same inputs add their effects; others read none."""
        one = LDS(1, 1, 2, A=[[0.5]], B=[[1.0, 2.0]], C=[[1.0]], D=Fixed([[1.0, 0.0]]), d=[0.0],
                  Q=[[1.0]], R=[[1.0]], initial="stationary")  # fmt: skip
        total = one + LDS.local_level() + LDS.regression(2)
        assert total.input_dim == 2
        assert total.B.tolist() == [[1.0, 2.0], [0.0, 0.0]]
        assert total.slot("D").n_free == 2
        with pytest.raises(InputError, match="the same inputs, or none"):
            one + LDS.regression(3)

    def test_offsets_add(self):
        """d of a sum is the sum of both."""
        level = LDS.local_level().replace(d=Fixed([2.0]))
        assert (level + level).d.tolist() == [4.0]
        assert (level + LDS.local_level().replace(d=Param([1.0]))).d.tolist() == [3.0]

    def test_varying_parts(self):
        """A part that varies in time spreads what stands beside it over time."""
        x = torch.randn(9, 2, dtype=F64)
        total = LDS.regression(columns=x) + LDS.local_level()
        assert total.slot("C").num_rows == 9
        assert torch.equal(total.C[:, 0], torch.cat([x, torch.ones(9, 1)], -1))
        with pytest.raises(InputError, match="wholly held where a part of it varies"):
            LDS.regression(columns=x) + LDS.arma(1, 1)

    def test_gradients_pass_through(self):
        """What is held with a graph keeps it in a sum."""
        rho = torch.tensor([[0.5]], dtype=F64, requires_grad=True)
        total = LDS.local_level() + LDS.arma(1).replace(A=Fixed(rho))
        total.A.sum().backward()
        assert rho.grad is not None

    def test_values_wait_for_data_together(self):
        """Where one part of Q has no value yet, the sum's Q has none."""
        fitted = with_values(LDS.local_level(), Q=[2.0])
        assert not (fitted + LDS.seasonal(4)).slot("Q").is_set
        both = fitted + with_values(LDS.seasonal(4), Q=[1.0])
        assert both.Q.diagonal().tolist() == pytest.approx([2.0, 1.0, 0.0, 0.0])

    def test_components_are_not_changed(self):
        """Adding leaves both components as they were."""
        first, second = LDS.local_level(), LDS.cycle(5)
        _ = first + second
        assert (first.latent_dim, second.latent_dim) == (1, 2)
        assert first.R.tolist() == [[0.0]]

    @pytest.mark.parametrize(
        ("make", "words"),
        [
            (lambda: LDS.local_level() + LDS(1, 2), "same obs_dim"),
            (lambda: LDS.local_level() + LDS.local_level(dtype=torch.float32), "same dtype"),
            (lambda: LDS.local_level() + LDS.local_level().replace(diffuse_constant=False), "same"),
        ],
    )
    def test_refusals(self, make, words):
        """What cannot be added is refused with a sentence."""
        with pytest.raises(InputError, match=words):
            make()

    def test_something_else(self):
        """Only models are added."""
        with pytest.raises(TypeError):
            _ = LDS.local_level() + 1.0


class TestStart:
    """The first state, all alike or state by state."""

    def test_stationary(self):
        """Its moments are unchanged by one more step."""
        a = torch.tensor([[0.5, 0.3], [-0.2, 0.7]], dtype=F64)
        q = torch.tensor([[1.0, 0.2], [0.2, 0.5]], dtype=F64)
        b = torch.tensor([1.0, -2.0], dtype=F64)
        lds = LDS(2, 1, A=a, b=b, Q=q, initial="stationary")
        mean, cov = lds.initial_mean, lds.initial_cov
        assert torch.allclose(a @ mean + b, mean)
        assert torch.allclose(a @ cov @ a.mT + q, cov)

    @pytest.mark.parametrize("a", [1.0, -1.2])
    def test_stationary_needs_stability(self, a):
        """A spectral radius of one or more is refused, with its value."""
        with pytest.raises(InputError, match=rf"spectral radius below 1.*received {abs(a):g}"):
            LDS(1, 1, A=[[a]], Q=[[1.0]], initial="stationary")

    def test_some_stationary(self):
        """Stationary states among others must not be driven by them."""
        a = [[1.0, 0.0], [0.0, 0.5]]
        held = LDS(2, 1, A=Fixed(a), Q=torch.eye(2), initial=["diffuse", "stationary"])
        cov = held.prior().covariance.matrix
        assert torch.allclose(cov, torch.diag(torch.tensor([0.0, 1 / (1 - 0.25)])).to(cov))
        assert held.prior().diffuse.tolist() == [True, False]
        with pytest.raises(InputError, match=r"stationary states \[1\] that no other state drives"):
            LDS(2, 1, A=a, Q=torch.eye(2), initial=["diffuse", "stationary"])

    def test_mixed(self):
        """Known, estimated, stationary and diffuse states side by side."""
        lds = LDS(
            4, 1, A=Fixed(0.5 * torch.eye(4)), Q=torch.eye(4),
            initial=["known", "estimate", "stationary", "diffuse"],
            initial_mean=[1.0, 2.0, 3.0, 4.0], initial_cov=torch.diag(torch.arange(1.0, 5.0)),
        )  # fmt: skip
        prior = lds.prior()
        assert prior.mean.tolist() == [1.0, 2.0, 0.0, 0.0]
        want = torch.tensor([1.0, 2.0, 4 / 3, 0.0], dtype=F64)
        assert torch.allclose(prior.covariance.matrix, torch.diag(want))
        root = prior.covariance.root
        assert torch.allclose(root @ root.mT, prior.covariance.matrix)
        assert (lds.slot("initial_mean").n_free, lds.slot("initial_cov").n_free) == (1, 1)

    def test_held_when_given(self):
        """Moments that are given are held, unless they are to be estimated."""
        given = {"initial_mean": [1.0], "initial_cov": [[2.0]]}
        assert LDS(1, 1, **given).initial_kind == "known"
        assert LDS(1, 1, **given).slot("initial_mean").n_free == 0
        assert LDS(1, 1, **given, initial="estimate").slot("initial_mean").n_free == 1
        assert LDS(1, 1).initial_kind == "estimate"

    @pytest.mark.parametrize(
        ("kwargs", "words"),
        [
            ({"initial": "unknown"}, '"diffuse", received \'unknown\''),
            ({"initial": ["known"]}, "a list of 2, received a list of 1"),
            ({"initial": "known"}, "Give initial_mean="),
            ({"initial": "diffuse", "initial_mean": [0.0, 0.0]}, "no moments beside"),
            ({"initial": "known", "initial_mean": Param([0.0, 0.0]),
              "initial_cov": torch.eye(2)}, "Use Fixed"),
            ({"initial": "stationary", "A": Varying(torch.zeros(5, 2, 2))}, "A constant in time"),
        ],
    )  # fmt: skip
    def test_refusals(self, kwargs, words):
        """What contradicts itself is refused with a sentence."""
        with pytest.raises(InputError, match=words):
            LDS(2, 1, **kwargs)


class TestStartValues:
    """Cycles and autoregressions begin where the data suggest."""

    def started(self, model: LDS, y: Tensor) -> LDS:
        data = read_sequences(y, obs_dim=1, input_dim=0, dtype=F64, device="cpu")
        structural_start.start_values(model, data)
        return model

    @pytest.mark.parametrize("period", [4.5, 11.0, 30.0])
    def test_periodogram(self, period):
        """A cycle starts at the period that stands out, whatever the line below and the gaps."""
        t = torch.arange(150, dtype=F64)
        noise = torch.randn(150, dtype=F64, generator=torch.Generator().manual_seed(1))
        y = 5 + 0.1 * t + 3 * (2 * math.pi * t / period).cos() + 0.5 * noise
        y[40:50] = float("nan")
        a = self.started(LDS.cycle(), y[:, None]).A.detach()
        found = 2 * math.pi / float(torch.atan2(a[0, 1], a[0, 0]))
        assert found == pytest.approx(period, rel=0.03)
        assert torch.allclose(a @ a.mT, 0.81 * torch.eye(2, dtype=F64))

    @pytest.mark.parametrize("period", [5.0, 15.0])
    def test_a_trend_is_no_cycle(self, period):
        """Beside a trend of a thousand times its power a cycle is seen where it is."""
        g = torch.Generator().manual_seed(7)
        noise, slope, level = torch.randn(3, 500, generator=g, dtype=F64).unbind()
        t = torch.arange(500, dtype=F64)
        trend = (0.3 * level + (0.05 * slope).cumsum(0)).cumsum(0)
        y = trend + 1.5 * (2 * math.pi * t / period).cos() + 0.5 * noise
        assert float(trend.square().mean()) > 100
        a = self.started(LDS.local_trend() + LDS.cycle(), y[:, None]).A.detach()[2:, 2:]
        found = 2 * math.pi / float(torch.atan2(a[0, 1], a[0, 0]))
        assert found == pytest.approx(period, rel=0.05)

    def test_two_cycles(self):
        """Two cycles start at two peaks."""
        t = torch.arange(200, dtype=F64)
        y = (2 * math.pi * t / 7).cos() + 2 * (2 * math.pi * t / 23).cos()
        a = self.started(LDS.cycle() + LDS.cycle(), y[:, None]).A.detach()
        angles = torch.atan2(a[[0, 2], [1, 3]], a[[0, 2], [0, 2]])
        assert torch.allclose(2 * math.pi / angles, torch.tensor([23.0, 7.0], dtype=F64), rtol=0.03)

    def test_autoregression(self):
        """Phi starts near its value, and what is held stays."""
        phi = torch.tensor([1.2, -0.5], dtype=F64)
        y = torch.zeros(3000, dtype=F64)
        noise = torch.randn(3000, dtype=F64, generator=torch.Generator().manual_seed(0))
        for t in range(2, 3000):
            y[t] = phi @ y[[t - 1, t - 2]] + noise[t]
        a = self.started(LDS.arma(2, 2), y[:, None]).A.detach()
        assert torch.allclose(a[0, :2], phi, atol=0.06)
        assert a[1:].tolist() == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]

    @pytest.mark.parametrize("level", [0.0, 7.0])
    def test_a_constant_series(self, level):
        """Nothing divides by the variance of a series that has none."""
        for model in (LDS.arma(2, 1), LDS.cycle()):
            started = self.started(model, torch.full((20, 1), level, dtype=F64))
            assert torch.isfinite(started.A).all()

    def test_other_patterns_are_left_alone(self):
        """An A with other learned entries waits for the general start values."""
        assert not self.started(LDS(2, 1), torch.randn(20, 1)).slot("A").is_set


class TestModel:
    """The constructor, reading, copying."""

    def test_copies_are_independent(self):
        """A deep copy has its own learned numbers, and shares what was given with a graph."""
        leaf = torch.tensor([[0.5]], dtype=F64, requires_grad=True)
        lds = LDS(1, 1, A=Fixed(leaf.tanh()), C=[[1.0]], Q=[[1.0]], R=[[1.0]], initial="stationary")
        twin = copy.deepcopy(lds)
        twin.slot("R").set_([[4.0]])
        assert lds.R.tolist() == [[1.0]]
        assert twin.A is lds.A
        twin.log_likelihood(torch.ones(5, 1)).backward()
        assert leaf.grad is not None

    def test_conversion(self):
        """.to(dtype) converts everything, roots of held covariances too."""
        lds = LDS(2, 1, seed=0, Q=Fixed(torch.eye(2) * 2))
        lds.log_likelihood(torch.ones(3, 1))
        narrow = copy.deepcopy(lds).to(torch.float32)
        assert narrow.dtype == torch.float32
        assert narrow.log_likelihood(torch.ones(3, 1)).dtype == torch.float32
        wide = narrow.to(F64).log_likelihood(torch.ones(3, 1))
        assert torch.allclose(wide, lds.log_likelihood(torch.ones(3, 1)), rtol=1e-5)

    def test_d_beside_a_given_c(self):
        """Who writes C writes d where there is one; left out with C, it is learned."""
        assert LDS(1, 1, C=[[1.0]]).d.tolist() == [0.0]
        assert LDS(1, 1).slot("d").n_free == 1
        assert LDS(1, 1).b.tolist() == [0.0]

    def test_gradients_of_a_stationary_start(self):
        """m = (I - A)^-1 b and P = A P A' + Q are differentiable in A, b and Q."""
        a = torch.tensor([[0.5, 0.3], [-0.2, 0.7]], dtype=F64, requires_grad=True)
        b = torch.tensor([1.0, -2.0], dtype=F64, requires_grad=True)
        root = torch.tensor([[1.0, 0.0], [0.2, 0.5]], dtype=F64, requires_grad=True)

        def moments(a: Tensor, b: Tensor, root: Tensor) -> tuple[Tensor, Tensor]:
            q = Fixed(root @ root.mT)
            lds = LDS(2, 1, A=Fixed(a), b=Fixed(b), Q=q, initial="stationary")
            return lds.initial_mean, lds.initial_cov

        assert torch.autograd.gradcheck(moments, (a, b, root))

    def test_shapes_are_checked(self):
        """A wrong shape names argument and axes."""
        with pytest.raises(InputError, match=r"`C`: expected shape \(\.\.\., obs=1, latent=2\)"):
            LDS(2, 1, C=torch.ones(2, 1))

    def test_sizes(self):
        """Sizes are whole numbers, obs_dim at least one."""
        with pytest.raises(InputError, match="`obs_dim`: expected at least 1"):
            LDS(1, 0)
        with pytest.raises(InputTypeError, match="`latent_dim`: expected an integer"):
            LDS(1.5, 1)
        with pytest.raises(InputTypeError, match=r"float64 or torch\.float32"):
            LDS(1, 1, dtype=torch.float16)

    def test_unknown_keyword(self):
        """A misspelt keyword is refused with its neighbour."""
        with pytest.raises(InputTypeError, match="initial_men"):
            LDS(1, 1, initial_men=[0.0])

    def test_batch_shapes_must_fit(self):
        """Batch axes of different parameters broadcast, or are refused."""
        with pytest.raises(InputError, match=r"A \(2,\), Q \(3,\)"):
            LDS(1, 1, A=torch.zeros(2, 1, 1), Q=torch.ones(3, 1, 1))

    def test_not_set(self):
        """Asking before there are values says which are missing and what to do."""
        with pytest.raises(InputError, match=r"`A, C, d, Q, R.*Call fit first, or give A=, C="):
            LDS(1, 1, initial="diffuse").log_likelihood(torch.zeros(5, 1))

    def test_seed_draws_a_stable_system(self):
        """With a seed everything is set, the same each time, and A is stable."""
        one, two = LDS(3, 2, 1, seed=4), LDS(3, 2, 1, seed=4)
        assert torch.equal(one.A, two.A)
        assert float(torch.linalg.eigvals(one.A.detach()).abs().max()) < 1
        assert torch.isfinite(one.log_likelihood(torch.zeros(5, 2), torch.zeros(5, 1)))

    def test_inputs_reach_both_equations(self):
        """bias = b + B u in the transition, d + D u in the emission, over time and by step."""
        lds = LDS(2, 1, 2, seed=1, b=[1.0, 2.0])
        u = torch.randn(3, 5, 2, dtype=F64)
        whole = Context(torch.arange(5), u, u[..., :0])
        moved, read = lds.dynamics(whole), lds.readout(whole)
        assert moved.varies == read.varies == {"bias"}
        for t in range(5):
            one = Context(torch.tensor(t), u[:, t], u[:, t, :0])
            assert torch.allclose(moved.bias[:, t], lds.dynamics(one).bias)
            assert torch.allclose(lds.dynamics(one).bias, lds.b + u[:, t] @ lds.B.mT)
            assert torch.allclose(read.bias[:, t], lds.d + u[:, t] @ lds.D.mT)
            assert lds.dynamics(one).varies == frozenset()

    def test_rows_of_what_varies(self):
        """Row t is row t, wherever a context begins; too few rows are refused."""
        rows = torch.randn(6, 1, 1, dtype=F64)
        lds = LDS(1, 1, A=Varying(rows), Q=[[1.0]], initial="diffuse")
        u = torch.zeros(3, 0, dtype=F64)
        assert torch.equal(lds.dynamics(Context(torch.arange(2, 5), u, u)).weight, rows[2:5])
        assert torch.equal(lds.dynamics(Context(torch.tensor(5), u[0], u[0])).weight, rows[5])
        with pytest.raises(InputError, match=r"`A`: expected at least 7 rows.*received 6"):
            lds.dynamics(Context(torch.tensor(6), u[0], u[0]))

    def test_replace(self):
        """A copy with other declarations keeps everything else."""
        lds = LDS(2, 1, seed=0)
        held = lds.replace(Q=Fixed(torch.eye(2)), initial="diffuse")
        assert torch.equal(held.A, lds.A)
        assert (held.slot("Q").n_free, held.initial_kind) == (0, "diffuse")
        assert lds.slot("Q").n_free == 3

    def test_a_count_of_parameters(self):
        """One model's learned numbers, without rows that act on nothing."""
        assert LDS(2, 3).num_params == 4 + 6 + 3 + 3 + 6 + 2 + 3
        rows = Varying(Param(torch.zeros(5, 1, 1)))
        assert LDS(1, 1, A=rows, C=rows, initial="diffuse").num_params == 4 + 5 + 1 + 1
        assert LDS(1, 1, A=torch.zeros(7, 1, 1), initial="diffuse").num_params == 5

    def test_a_fit_counts_as_the_model_does(self):
        """Row 0 of a transition that varies is learned by no data, and no fit counts it."""
        rows = Varying(Param(torch.full((5, 1, 1), 0.5)))
        lds = LDS(1, 1, A=rows, C=Fixed([[1.0]]), Q=rows, R=[[1.0]], initial="diffuse")
        y = torch.randn(5, 1, generator=torch.Generator().manual_seed(0), dtype=F64)
        for learner in (EM(max_iter=1, polish=False), Gradient(1)):
            assert lds.fit(y, learner=learner, seed=0).num_params == lds.num_params == 4 + 4 + 1
