"""The M-step of the LDS maximises the expected complete log-likelihood, and nothing else.

The oracle writes all states and observations of a series as one Gaussian, conditions it, and
evaluates E[log p(z, y)] at any other parameters by the definition; torch differentiates that.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from oracles import DenseOracle

import statespace as ss
from statespace.inference import Kalman
from statespace.models.lds import mstep
from statespace.parameters import InverseWishart, Normal
from statespace.sequences import read_sequences

N, M, P = 2, 3, 1
NAMES = ("A", "B", "b", "C", "D", "d", "Q", "R", "initial_mean", "initial_cov")


def numbers(seed: int = 0) -> dict[str, torch.Tensor]:
    """Parameters of a stable system with inputs and offsets."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    def cov(k: int) -> torch.Tensor:
        root = normal(k, k)
        return 0.3 * root @ root.mT + 0.2 * torch.eye(k, dtype=torch.float64)

    return {
        "A": torch.tensor([[0.7, 0.2], [-0.3, 0.6]], dtype=torch.float64),
        "B": normal(N, P),
        "b": normal(N),
        "C": normal(M, N),
        "D": normal(M, P),
        "d": normal(M),
        "Q": cov(N),
        "R": cov(M),
        "initial_mean": normal(N),
        "initial_cov": cov(N),
    }


def ragged(seed: int = 1, lengths: tuple[int, ...] = (7, 4, 5)):
    """Series of unequal length with inputs; entries and one whole row missing."""
    g = torch.Generator().manual_seed(seed)
    y = [torch.randn(t, M, generator=g, dtype=torch.float64) * 2 + 1 for t in lengths]
    u = [torch.randn(t, P, generator=g, dtype=torch.float64) for t in lengths]
    y[0][2, 1] = y[0][4, 0] = y[1][1, 2] = math.nan
    y[0][5] = math.nan
    return y, u


def sequences(y, u):
    return read_sequences(
        y, u, obs_dim=M, input_dim=u[0].shape[-1], dtype=torch.float64, device="cpu"
    )


def values(lds) -> dict[str, torch.Tensor]:
    return {name: lds.slots[name].value().detach().clone() for name in NAMES}


def expected_log_joint(old: dict, new: dict, y: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """E[log p(z, y_rows with data)] at `new`, under the posterior at `old`; one series."""
    t, b_t = len(y), (u @ old["B"].mT + old["b"]).numpy()
    d_t = (u @ old["D"].mT + old["d"]).numpy()
    dense = DenseOracle(
        y.numpy(),
        old["A"].numpy(),
        b_t,
        old["Q"].numpy(),
        old["C"].numpy(),
        d_t,
        old["R"].numpy(),
        old["initial_mean"].numpy(),
        old["initial_cov"].numpy(),
    )
    mean, cov = (torch.as_tensor(np.asarray(x)) for x in dense.posterior())
    # rows of the residual e = F x - g, x = (z_1 .. z_T, y_1 .. y_T)
    total = torch.zeros((), dtype=torch.float64)
    size, n = t * (N + M), N

    def at_z(k: int) -> torch.Tensor:
        return torch.eye(size, dtype=torch.float64)[k * n : (k + 1) * n]

    def at_y(k: int) -> torch.Tensor:
        return torch.eye(size, dtype=torch.float64)[t * n + k * M : t * n + (k + 1) * M]

    def term(f: torch.Tensor, g: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        e = f @ mean - g
        second = torch.outer(e, e) + f @ cov @ f.mT
        return -0.5 * (
            len(g) * math.log(2 * math.pi)
            + torch.logdet(noise)
            + torch.trace(torch.linalg.solve(noise, second))
        )

    total = total + term(at_z(0), new["initial_mean"], new["initial_cov"])
    for k in range(1, t):
        f = at_z(k) - new["A"] @ at_z(k - 1)
        total = total + term(f, new["B"] @ u[k] + new["b"], new["Q"])
    for k in range(t):
        if not bool(torch.isnan(y[k]).all()):
            f = at_y(k) - new["C"] @ at_z(k)
            total = total + term(f, new["D"] @ u[k] + new["d"], new["R"])
    return total


def one_step(lds, y, u) -> tuple[dict, dict]:
    """Values before and after one E-step and one M-step."""
    data = sequences(y, u)
    before = values(lds)
    with torch.no_grad():
        smoothed = Kalman().smooth(lds, data, torch.Generator())
        lds.maximise(lds.statistics(smoothed, data))
    return before, values(lds)


def slopes(lds, before, after, y, u, at: dict) -> dict[str, torch.Tensor]:
    """Gradient of the expected log joint (and priors) in each learned number at `at`."""
    entries = {}
    point = dict(at)
    for name in NAMES:
        slot = lds.slots[name]
        if slot.n_free:
            base, m = slot.basis()
            flat = at[name].flatten()
            theta = torch.linalg.lstsq(m, (flat - base)[:, None]).solution[:, 0]
            entries[name] = theta.requires_grad_(True)
            point[name] = (base + m @ entries[name]).view(slot.event)
    total = sum(expected_log_joint(before, point, a, b) for a, b in zip(y, u, strict=True))
    for name in entries:
        prior = lds.slots[name].prior
        if isinstance(prior, Normal) or prior is not None:
            total = total + prior.log_prob(point[name])
    grads = torch.autograd.grad(total, list(entries.values()))
    return {
        k: g * (e.detach().abs() + 0.1) for (k, e), g in zip(entries.items(), grads, strict=True)
    }


def check_conditional_maximum(lds, y, u, *, skip: tuple[str, ...] = ()) -> tuple[dict, dict]:
    """Coefficients are stationary given the old noise, the noise given the new coefficients."""
    before, after = one_step(lds, y, u)
    mixed = {**after, **{k: before[k] for k in ("Q", "R", "initial_cov")}}
    given_noise = slopes(lds, before, after, y, u, mixed)
    at_end = slopes(lds, before, after, y, u, after)
    for name in NAMES:
        if name in skip or not lds.slots[name].n_free:
            continue
        found = (at_end if name in ("Q", "R", "initial_cov") else given_noise)[name]
        assert float(found.abs().max()) < 1e-8, name
    joint = [
        sum(expected_log_joint(before, x, *s) for s in zip(y, u, strict=True))
        for x in (before, after)
    ]
    assert joint[1] >= joint[0] - 1e-9 or any(s.prior is not None for s in lds.slots.values())
    return before, after


def learned(**changes) -> ss.LDS:
    start = {k: ss.Param(v) for k, v in numbers().items()}
    return ss.LDS(N, M, P, initial="estimate", **{**start, **changes})


def test_all_free():
    """Ordinary regression: the joint maximum, in every parameter, with gaps and ragged ends."""
    lds = learned()
    y, u = ragged()
    before, after = check_conditional_maximum(lds, y, u)
    both = slopes(lds, before, after, y, u, after)
    assert max(float(g.abs().max()) for g in both.values()) < 1e-8
    assert all(not torch.equal(before[k], after[k]) for k in NAMES)


def test_q_is_divided_by_the_number_of_transitions():
    """With z seen exactly, Q is the residual sum of squares over T - 1, not over T."""
    g = torch.Generator().manual_seed(3)
    z = torch.randn(6, 1, generator=g, dtype=torch.float64).cumsum(0)
    lds = ss.LDS(
        1,
        1,
        A=ss.Fixed([[1.0]]),
        C=ss.Fixed([[1.0]]),
        d=ss.Fixed([0.0]),
        Q=[[1.0]],
        R=ss.Fixed([[1e-20]]),
        initial="diffuse",
    )
    data = read_sequences(z, obs_dim=1, input_dim=0, dtype=torch.float64, device="cpu")
    lds.maximise(lds.statistics(Kalman().smooth(lds, data, torch.Generator()), data))
    assert float(lds.Q.detach()) == pytest.approx(float(z.diff(dim=0).square().sum()) / 5, rel=1e-9)


def test_initial_moments_are_taken_over_series():
    """m is the mean of E[z_1], the covariance the mean of its second moment about m."""
    lds = learned()
    y, u = ragged()
    data = sequences(y, u)
    s = Kalman().smooth(lds, data, torch.Generator())
    first, cov = s.mean[:, 0], s.cov[:, 0]
    lds.maximise(lds.statistics(s, data))
    m = first.mean(0)
    second = ((first - m)[:, :, None] * (first - m)[:, None, :] + cov).mean(0)
    torch.testing.assert_close(lds.initial_mean.detach(), m)
    torch.testing.assert_close(lds.initial_cov.detach(), second)


STRUCTURES = {
    "diagonal noise": {
        "Q": ss.Param(torch.diag(torch.tensor([0.4, 0.9])), structure="diag"),
        "R": ss.Param(torch.diag(torch.tensor([0.4, 0.9, 0.2])), structure="diag"),
    },
    "scalar noise": {
        "Q": ss.Param(0.5 * torch.eye(2), structure="scalar"),
        "R": ss.Param(0.5 * torch.eye(3), structure="scalar"),
    },
    "held entries": {
        "A": ss.Param([[0.7, 1.0], [0.0, 0.6]], free=[[True, False], [False, True]]),
        "C": ss.Param(
            [[1.0, 0.0], [0.3, 1.0], [0.2, -0.4]],
            free=[[False, False], [True, False], [True, True]],
        ),
    },
    "tied entries": {
        "A": ss.Param([[0.6, 0.3], [-0.3, 0.6]], labels=[[1, 2], [-2, 1]]),
        "d": ss.Param([0.4, 0.4, 0.1], labels=[1, 1, 2]),
        "R": ss.Param(
            torch.diag(torch.tensor([0.4, 0.4, 0.2])),
            structure="diag",
            labels=[[1, 0, 0], [0, 1, 0], [0, 0, 2]],
        ),
    },
    "blocks": {
        "R": ss.Param(
            [[0.5, 0.1, 0.0], [0.1, 0.4, 0.0], [0.0, 0.0, 0.3]],
            free=[[True, True, False], [True, True, False], [False, False, True]],
        )
    },
    "held slots": {
        "A": ss.Fixed([[0.7, 0.2], [-0.3, 0.6]]),
        "D": ss.Fixed([[0.1], [0.0], [0.3]]),
        "Q": ss.Fixed([[1.0, 0.2], [0.2, 0.5]]),
        "initial_mean": ss.Fixed([0.0, 1.0]),
    },
    "diagonal dynamics": {"A": ss.Param([[0.7, 0.0], [0.0, -0.2]], structure="diag")},
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_structures(name: str):
    """Held entries stay bit for bit, tied entries stay tied, the rest is at its maximum."""
    lds = learned(**STRUCTURES[name])
    before, after = check_conditional_maximum(lds, *ragged())
    for slot_name, slot in lds.slots.items():
        held = ~slot.pattern.free
        assert torch.equal(before[slot_name][held], after[slot_name][held])
    if name == "tied entries":
        assert after["A"][0, 0] == after["A"][1, 1]
        assert after["A"][0, 1] == -after["A"][1, 0]
        assert after["R"][0, 0] == after["R"][1, 1] != after["R"][2, 2]


def test_conjugate_priors():
    """A normal prior on A and d and an inverse Wishart on Q and R enter the maximum."""
    start = numbers()
    lds = learned(
        A=ss.Param(start["A"], prior=Normal(0.0, 0.2)),
        d=ss.Param(start["d"], prior=Normal(1.0, 0.5)),
        Q=ss.Param(start["Q"], prior=InverseWishart(4.0, torch.eye(N))),
        R=ss.Param(start["R"], prior=InverseWishart(4.0, 2 * torch.eye(M))),
    )
    check_conditional_maximum(lds, *ragged())


def test_models_of_a_batch_are_their_own():
    """With leading axes on the parameters no statistics are shared: as one by one."""
    y, u = ragged(lengths=(7, 7, 7))
    y = [torch.nan_to_num(v, nan=0.5) for v in y]
    starts = [numbers(seed) for seed in range(3)]
    together = ss.LDS(
        N,
        M,
        P,
        initial="estimate",
        **{k: ss.Param(torch.stack([s[k] for s in starts])) for k in NAMES},
    )
    one_step(together, torch.stack(y), torch.stack(u))
    for i, start in enumerate(starts):
        alone = ss.LDS(N, M, P, initial="estimate", **{k: ss.Param(v) for k, v in start.items()})
        one_step(alone, [y[i]], [u[i]])
        for name in NAMES:
            torch.testing.assert_close(
                together.slots[name].value()[i], alone.slots[name].value(), rtol=1e-9, atol=1e-12
            )


def test_statistics_add_up_over_series():
    """The moments of two series together are the sums of their own."""
    lds = learned()
    y, u = ragged()

    def moments(rows: slice):
        data = sequences(y[rows], u[rows])
        return lds.statistics(Kalman().smooth(lds, data, torch.Generator()), data)

    whole, first, rest = moments(slice(None)), moments(slice(0, 1)), moments(slice(1, None))
    for name in whole:
        for a, b, c in zip(whole[name], first[name], rest[name], strict=True):
            torch.testing.assert_close(a, b + c)


def test_noise_free_rows_are_left_to_the_gradient():
    """A learned coefficient in a noise-free row stays; its route says so; the others move."""
    lds = learned(
        A=ss.Param([[0.7, 0.2], [0.5, 0.0]], free=[[True, True], [True, False]]),
        B=ss.Fixed(torch.zeros(N, P)),
        b=ss.Fixed(torch.zeros(N)),
        Q=ss.Param([[0.5, 0.0], [0.0, 0.0]], free=[[True, False], [False, False]]),
    )
    before, after = one_step(lds, *ragged())
    assert after["A"][1, 0] == before["A"][1, 0]
    assert after["A"][0, 0] != before["A"][0, 0]
    assert mstep.routes(lds)["A"] == "gradient"
    assert not lds.mstep_exact
    assert float(after["Q"][1, 1]) == 0.0


def test_a_singular_full_q_keeps_its_range():
    """With Q of rank one, A moves along that range only, and the log-likelihood rises."""
    g = torch.tensor([[1.0], [0.4]], dtype=torch.float64)
    lds = learned(Q=ss.Param(g @ g.mT), B=ss.Fixed(torch.zeros(N, P)))
    y, u = ragged()
    data = sequences(y, u)
    low = float(Kalman().log_likelihood(lds, data, torch.Generator()).sum().detach())
    before, after = one_step(lds, y, u)
    off = torch.tensor([[-0.4, 1.0]], dtype=torch.float64)
    assert float((off @ (after["A"] - before["A"])).abs().max()) < 1e-9
    assert float((off @ after["Q"]).abs().max()) < 1e-9
    assert float(Kalman().log_likelihood(lds, data, torch.Generator()).sum().detach()) > low


def test_varying_parameters_are_held_and_the_rest_climbs():
    """C and Q with rows of their own: the remaining coefficients are at their maximum."""
    g = torch.Generator().manual_seed(5)
    y, u = ragged(lengths=(7, 7))
    q = torch.stack([torch.diag(torch.rand(N, generator=g) + 0.2) for _ in range(7)]).double()
    c = torch.randn(7, M, N, generator=g, dtype=torch.float64)
    lds = learned(Q=ss.Varying(q), C=ss.Varying(c), initial_cov=ss.Fixed(torch.eye(N)))
    data = sequences(y, u)
    kalman, rng = Kalman(), torch.Generator()
    before = kalman.log_likelihood(lds, data, rng).sum().detach()
    for _ in range(3):
        lds.maximise(lds.statistics(kalman.smooth(lds, data, rng), data))
        now = kalman.log_likelihood(lds, data, rng).sum().detach()
        assert now > before
        before = now
    assert torch.equal(lds.Q.detach(), q)


@pytest.mark.parametrize("b", [None, [0.3, -0.2]])
def test_stationary_start_never_falls(b):
    """The conditional step of a stationary start raises the likelihood until it is flat."""
    start = numbers()
    lds = ss.LDS(
        N,
        M,
        P,
        initial="stationary",
        **{k: start[k] for k in ("A", "B", "C", "D", "d", "Q", "R")},
        b=b,
    )
    y, u = ragged(lengths=(8, 5, 6, 9))
    data = sequences(y, u)
    kalman, rng = Kalman(), torch.Generator()
    history = [float(kalman.log_likelihood(lds, data, rng).sum().detach())]
    for _ in range(30):
        lds.maximise(lds.statistics(kalman.smooth(lds, data, rng), data))
        history.append(float(kalman.log_likelihood(lds, data, rng).sum().detach()))
    gains = np.diff(history)
    assert gains.min() > -1e-9
    assert gains[0] > 1.0
    assert mstep.routes(lds)["A"] == "conditional"


def test_large_levels_lose_no_digits():
    """Residual moments keep a small R beside a level of 1e8, where sums of squares would not."""
    g = torch.Generator().manual_seed(7)
    e = torch.randn(200, 1, generator=g, dtype=torch.float64)
    lds = ss.LDS(
        1,
        1,
        A=ss.Fixed([[0.0]]),
        C=ss.Fixed([[0.0]]),
        Q=ss.Fixed([[1.0]]),
        d=[1e8],
        R=[[2.0]],
        initial_mean=[0.0],
        initial_cov=[[1.0]],
    )
    data = read_sequences(1e8 + 1e-3 * e, obs_dim=1, input_dim=0, dtype=torch.float64, device="cpu")
    for _ in range(2):
        lds.maximise(lds.statistics(Kalman().smooth(lds, data, torch.Generator()), data))
    y = data.values
    assert float(lds.R.detach()) == pytest.approx(float((y - y.mean()).square().mean()), rel=1e-6)
