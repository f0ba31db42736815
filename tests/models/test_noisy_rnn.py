"""`NoisyRNN`: its densities against explicit loops, an LDS where it is one, storage, refusals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import statespace as ss
from statespace.errors import InputError, InputTypeError, StorageError
from statespace.interface import Context, Network

F64 = torch.float64
N, M, P, T = 3, 2, 2, 6
FAMILIES: dict[str, dict[str, Any]] = {
    "gaussian": {},
    "student_t": {"family": "student_t", "df": 4.0},
    "bernoulli": {"family": "bernoulli"},
    "poisson": {"family": "poisson"},
    "categorical": {"family": "categorical", "num_categories": 4},
}
NAMED = {
    "identity": lambda x: x,
    "tanh": math.tanh,
    "relu": lambda x: max(x, 0.0),
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "softplus": lambda x: math.log1p(math.exp(x)),
}


def swish(x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(x)


def network(family: str = "gaussian", **changes: Any) -> ss.NoisyRNN:
    sizes = (N, 1 if family == "categorical" else M, P)
    return ss.NoisyRNN(*sizes, **{"seed": 0, **FAMILIES[family], **changes})


def sampled(model: Any, u: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    drawn = model.sample(T, inputs=u, seed=seed)
    return drawn.z, drawn.y


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def gaussian_log(x: Any, mean: Any, cov: Any) -> float:
    e = x - mean
    value = e @ np.linalg.solve(cov, e) + np.linalg.slogdet(cov)[1] + len(e) * np.log(2 * np.pi)
    return -0.5 * value


def emission_log(family: str, y: Any, eta: Any, r: Any, df: float) -> float:
    """log p(y_t | eta), entry by entry, from the formulas."""
    if family == "gaussian":
        return gaussian_log(y, eta, r)
    total = 0.0
    for i, value in enumerate(y):
        if family == "student_t":
            scale = math.sqrt(r[i, i])
            e = (value - eta[i]) / scale
            total += math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - math.log(scale)
            total -= 0.5 * math.log(df * math.pi) + (df + 1) / 2 * math.log1p(e * e / df)
        elif family == "bernoulli":
            total += value * eta[i] - math.log1p(math.exp(eta[i]))
        elif family == "poisson":
            total += value * eta[i] - math.exp(eta[i]) - math.lgamma(value + 1)
        else:
            total += eta[int(value)] - math.log(sum(math.exp(x) for x in eta))
    return total


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("activation", NAMED)
def test_the_joint_is_that_of_explicit_loops(family: str, activation: str) -> None:
    """Row by row and entry by entry, with inputs: u_t moves z_t and y_t, u_1 moves y_1 alone."""
    rnn = network(family, activation=activation)
    u = draws(T, P, seed=1)
    z, y = sampled(rnn, u, seed=2)
    v = {k: rnn.slot(k).value().detach().numpy() for k in rnn.slots}
    g = np.vectorize(NAMED[activation], otypes=[float])
    zs, us = z.numpy(), u.numpy()
    total = gaussian_log(zs[0], v["initial_mean"], v["initial_cov"])
    for t in range(T):
        if t:
            mean = g(v["A"] @ zs[t - 1] + v["W"] @ us[t] + v["b"])
            total += gaussian_log(zs[t], mean, v["Q"])
        eta = v["C"] @ zs[t] + v["D"] @ us[t] + v["d"]
        df = float(v["df"][0]) if "df" in v else 0.0
        total += emission_log(family, y[t].numpy(), eta, v.get("R"), df)
    assert_close(float(rnn.log_joint(z, y, u).detach()), total, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.parametrize("over_time", [False, True])
@pytest.mark.parametrize("activation", [*NAMED, swish])
@pytest.mark.parametrize("output", ["identity", "softplus", swish])
def test_network_and_densities_are_one_model(
    activation: Any, output: Any, over_time: bool, batch: tuple[int, ...]
) -> None:
    """Also with one model per series, and with parameters that vary in time."""
    kwargs = {"activation": activation, "output_activation": output}
    values = {
        "A": ss.Varying(draws(*batch, T, N, N)) if over_time else draws(*batch, N, N),
        "R": ss.Varying(torch.eye(M, dtype=F64) * draws(T, 1, 1).exp()) if over_time else None,
    }
    rnn = network(**kwargs, **values)
    u = draws(*batch, T, P, seed=1)
    every = Context(torch.arange(T), u, u[..., :0])
    ctx = every if over_time else every.row(1)
    z = draws(4, *batch, *((T,) if over_time else ()), N, seed=2)
    found = rnn.network(ctx)
    assert isinstance(found, Network)
    for law, part, g in (
        (rnn.transition(z, ctx), found.dynamics, found.transition),
        (rnn.emission(z, ctx), found.readout, found.emission),
    ):
        for t in range(T) if over_time else (0,):

            def row(x: torch.Tensor, name: str, rank: int, t: int = t, part: Any = part) -> Any:
                return x.select(-rank - 1, t) if name in part.varies else x

            weight, bias = row(part.weight, "weight", 2), row(part.bias, "bias", 1)
            at = z[..., t, :] if over_time else z
            mean = g((weight @ at[..., None])[..., 0] + bias)
            noise = row(part.noise.matrix, "noise", 2).expand(*mean.shape[:-1], -1, -1)
            pick = (lambda x, r, t=t: x.select(-r - 1, t)) if over_time else (lambda x, r: x)
            assert_close(pick(law.mean, 1), mean, rtol=1e-13, atol=1e-13)
            assert_close(pick(law.covariance_matrix, 2), noise, rtol=1e-12, atol=1e-12)
    first = rnn.initial(every.row(0))
    assert_close(first.mean, found.prior.mean)
    assert_close(first.covariance_matrix, found.prior.cov)


@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "gaussian"])
def test_other_families_are_no_network(family: str) -> None:
    """Compiled loops for Gaussian emissions do not see them."""
    ctx = Context(torch.tensor(0), draws(P), draws(0))
    assert network(family).network(ctx) is None


@pytest.mark.parametrize("family", FAMILIES)
def test_it_keeps_the_contract(family: str) -> None:
    """In both dtypes; gaps are marginalised entry by entry."""
    assert ss.check_model(network(family))
    single = network(family, dtype=torch.float32)
    assert single.dtype == torch.float32
    assert ss.check_model(single)


def test_with_identities_it_is_an_lds() -> None:
    """The same joint density and gradient; nothing is learned beside what the LDS learns."""
    lds = ss.LDS(N, M, P, seed=3)
    values = {k: lds.slot(k).value().detach() for k in lds.slots}
    values["W"] = values.pop("B")
    rnn = ss.NoisyRNN(N, M, P, activation="identity", initial="estimate", **values)
    u = draws(4, T, P)
    z, y = sampled(lds, u, seed=1)
    y[0, 2, 0] = math.nan
    one, two = lds.log_joint(z, y, u), rnn.log_joint(z, y, u)
    assert_close(one, two, rtol=1e-13, atol=1e-13)
    left = torch.autograd.grad(one.sum(), lds.slot("A").theta)[0]
    assert_close(left, torch.autograd.grad(two.sum(), rnn.slot("A").theta)[0])
    plain = ss.NoisyRNN(N, M, P, activation="identity", seed=0)
    assert plain.num_params == ss.LDS(N, M, P, seed=0).num_params


@pytest.mark.parametrize("missing", [False, True])
def test_with_identities_it_has_the_kalman_numbers(missing: bool) -> None:
    """Filter, smoother, forecast and gradient, by every linearising method."""
    lds = ss.LDS(N, M, P, seed=3)
    values = {k: lds.slot(k).value().detach() for k in lds.slots}
    values["W"] = values.pop("B")
    rnn = ss.NoisyRNN(N, M, P, activation="identity", initial="estimate", **values)
    u = draws(2, T + 3, P)
    y = draws(2, T, M, seed=1)
    if missing:
        y[0, 2, 0] = y[1, 3] = math.nan
    now = u[:, :T]
    for method in (ss.ExtendedKalman(), ss.UnscentedKalman(), ss.CubatureKalman()):
        one, two = lds.log_likelihood(y, now), rnn.log_likelihood(y, now, method=method)
        assert_close(one, two, rtol=1e-10, atol=1e-10)
        for name in ("A", "C", "Q"):
            left = torch.autograd.grad(one.sum(), lds.slot(name).theta, retain_graph=True)[0]
            right = torch.autograd.grad(two.sum(), rnn.slot(name).theta, retain_graph=True)[0]
            assert_close(left, right, rtol=1e-8, atol=1e-8)
        assert rnn.filter(y, now, method=method).kind == "exact"
    f, g = lds.filter(y, now), rnn.filter(y, now)
    s, r = lds.smooth(y, now), rnn.smooth(y, now)
    a, b = (m.forecast(y, horizon=3, inputs=u) for m in (lds, rnn))
    for left, right in (
        (f.mean, g.mean), (f.cov, g.cov), (f.y_mean, g.y_mean), (s.mean, r.mean), (s.cov, r.cov),
        (s.cross_cov, r.cross_cov), (a.mean, b.mean), (a.stddev, b.stddev),
    ):  # fmt: skip
        assert_close(left, right, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_without_noise_it_is_torchs_network(nonlinearity: str) -> None:
    """z_1 is h_0, u_2 .. u_T are its inputs, z_2 .. z_T its outputs: value and gradient."""
    torch.manual_seed(0)
    cell = torch.nn.RNN(P, N, nonlinearity=nonlinearity, batch_first=True).double()
    layer = torch.nn.Linear(N, M).double()
    effect = draws(M, P, seed=5).requires_grad_()
    first, r = draws(N, seed=6).requires_grad_(), torch.tensor([[0.5, 0.2], [0.2, 0.4]])
    u, y = draws(4, T, P, seed=7), draws(4, T, M, seed=8)
    h_0 = first.expand(1, 4, N)
    out = torch.cat([h_0[0][:, None], cell(u[:, 1:], h_0.contiguous())[0]], 1)
    mean = layer(out) + u @ effect.mT
    law = torch.distributions.MultivariateNormal(mean, r.double())
    wanted = law.log_prob(y).sum(-1)

    w = dict(cell.named_parameters())
    rnn = ss.NoisyRNN(
        N, M, P, activation=nonlinearity,
        A=w["weight_hh_l0"].detach(), W=w["weight_ih_l0"].detach(),
        b=(w["bias_ih_l0"] + w["bias_hh_l0"]).detach(),
        C=layer.weight.detach(), D=effect.detach(), d=layer.bias.detach(),
        Q=ss.Fixed(torch.zeros(N, N)), R=r, initial_mean=ss.Param(first.detach()),
        initial_cov=ss.Fixed(torch.zeros(N, N)),
    )  # fmt: skip
    found = rnn.log_likelihood(y, u, method=ss.ExtendedKalman())
    assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    theirs = torch.autograd.grad(
        wanted.sum(),
        [w["weight_hh_l0"], w["weight_ih_l0"], w["bias_hh_l0"], layer.weight, effect, layer.bias,
         first],
    )  # fmt: skip
    names = ("A", "W", "b", "C", "D", "d", "initial_mean")
    ours = torch.autograd.grad(found.sum(), [rnn.slot(name).theta for name in names])
    for name, left, right in zip(names, ours, theirs, strict=True):
        size = float(right.abs().max())
        assert_close(left.view_as(right), right, rtol=0, atol=1e-12 * size, msg=name)
    smoothed = rnn.smooth(y, u)
    assert_close(smoothed.mean, out.detach(), rtol=1e-12, atol=1e-12)
    assert not smoothed.cov.any()


def test_untied_over_time_the_gradients_add_up() -> None:
    """The gradient of a parameter is the sum of the gradients of its copies, one for each row."""
    tied = network(activation="tanh")
    u = draws(T, P)
    z, y = sampled(tied, u, seed=1)
    names = ("A", "W", "b", "C", "D", "d", "Q", "R")
    value = tied.log_joint(z, y, u)
    sums = torch.autograd.grad(value, [tied.slot(k).theta for k in names])
    copies = {}
    for k in names:
        own = tied.slot(k).value().detach()
        copies[k] = ss.Varying(ss.Param(own.expand(T, *own.shape)))
    moments = {k: tied.slot(k).value().detach() for k in ("initial_mean", "initial_cov")}
    loose = ss.NoisyRNN(N, M, P, **copies, **moments)
    again = loose.log_joint(z, y, u)
    assert_close(again, value)
    parts = torch.autograd.grad(again, [loose.slot(k).theta for k in names])
    for name, whole, each in zip(names, sums, parts, strict=True):
        assert each.shape == (T, *whole.shape)
        assert_close(each.sum(0), whole, rtol=1e-11, atol=1e-11, msg=name)
        if name in ("A", "W", "b", "Q"):
            assert not each[0].any()  # no transition leads into z_1
    assert loose.num_params == sum(
        s.n_free * (T - (k in "AWbQ")) for k, s in loose._slots() if k in names
    )


def test_a_held_noise_keeps_its_graph() -> None:
    """Fixed(v) is held, and the joint density is differentiable in what v came from."""
    root = draws(N, N).requires_grad_()
    rnn = network(Q=ss.Fixed(root @ root.mT + torch.eye(N, dtype=F64)))
    u = draws(T, P)
    z, y = sampled(rnn, u, seed=1)

    def value(r: torch.Tensor) -> torch.Tensor:
        return network(Q=ss.Fixed(r @ r.mT + torch.eye(N, dtype=F64))).log_joint(z, y, u)

    assert torch.autograd.gradcheck(value, root)


# ------------------------------------------------------------------ storage


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_is_loaded(family: str, tmp_path: Any) -> None:
    """Bit for bit, with the family, the activations and what is learned."""
    kwargs = {"output_activation": "softplus"} if family in ("gaussian", "student_t") else {}
    rnn = network(family, activation="sigmoid", A=ss.Fixed(draws(N, N)), **kwargs)
    rnn.save(tmp_path / "rnn")
    again = ss.load(tmp_path / "rnn")
    assert repr(again) == repr(rnn)
    assert again.output_activation.name == rnn.output_activation.name
    for name in rnn.slots:
        assert torch.equal(again.slot(name).value(), rnn.slot(name).value())


def test_a_function_is_handed_over_again(tmp_path: Any) -> None:
    """It is not stored; without it the error names it."""
    rnn = network(activation=swish)
    rnn.save(tmp_path / "rnn")
    with pytest.raises(StorageError, match="activation"):
        ss.load(tmp_path / "rnn")
    again = ss.load(tmp_path / "rnn", activation=swish)
    assert again.activation.function is swish
    assert torch.equal(again.A, rnn.A)


# ------------------------------------------------------------------ wrong input


@pytest.mark.parametrize(
    ("kwargs", "kind", "words"),
    [
        ({"family": "poison"}, InputError, "`family`: expected one of"),
        ({"family": "poisson", "R": np.eye(M)}, InputError, "`R`: expected none.*Leave it out"),
        ({"family": "poisson", "output_activation": "softplus"}, InputError, "log rates"),
        ({"family": "bernoulli", "output_activation": swish}, InputError, "logits"),
        ({"df": 3.0}, InputError, "`df`: expected none.*student_t"),
        ({"family": "student_t", "df": 1.5}, InputError, "`df`: expected more than 2.*Fixed"),
        ({"family": "student_t", "df": ss.Fixed(-1.0)}, InputError, "`df`: expected positive"),
        ({"family": "student_t", "R": [[1.0, 0.5], [0.5, 1.0]]}, InputError, "`R`: expected"),
        ({"family": "student_t", "R": ss.Fixed([[1.0, 0.5], [0.5, 1.0]])}, InputError, "diagonal"),
        ({"num_categories": 3}, InputError, "`num_categories`: expected none"),
        ({"family": "categorical"}, InputError, "`obs_dim`: expected 1"),
        ({"activation": "tanhh"}, InputError, "`activation`: expected"),
        ({"activation": 3}, InputTypeError, "`activation`: expected"),
        ({"activation": lambda x: x.sum()}, InputError, "`activation`: expected"),
        ({"initial": "stationary"}, InputError, "`initial`: expected one of"),
        ({"initial": "diffuse"}, InputError, "`initial`: expected one of"),
        ({"A": np.eye(2)}, InputError, "`A`: expected shape"),
        ({"Aa": np.eye(3)}, InputTypeError, "Aa"),
    ],
)
def test_wrong_arguments_are_refused(kwargs: Any, kind: type[Exception], words: str) -> None:
    """In one sentence that names the argument and says what to do."""
    with pytest.raises(kind, match=words):
        ss.NoisyRNN(N, M, P, **kwargs)


@pytest.mark.parametrize(("count", "kind"), [(None, InputTypeError), (1, InputError)])
def test_categories_are_counted(count: Any, kind: type[Exception]) -> None:
    """V is a number of at least two."""
    with pytest.raises(kind, match="`num_categories`: expected"):
        ss.NoisyRNN(N, 1, family="categorical", num_categories=count)


@pytest.mark.parametrize(
    ("family", "value", "words"),
    [
        ("bernoulli", 0.5, "0 and 1"),
        ("poisson", -1.0, "counts 0, 1, 2"),
        ("poisson", 1.5, "counts 0, 1, 2"),
        ("categorical", 4, r"categories 0 \.\. 3"),
        ("categorical", -1, r"categories 0 \.\. 3"),
    ],
)
def test_what_a_family_cannot_give_is_refused(family: str, value: float, words: str) -> None:
    """By every verb that reads y, with the value; where nothing was observed it does not matter."""
    rnn = network(family)
    y = torch.zeros(T, rnn.obs_dim, dtype=torch.int64 if family == "categorical" else F64)
    y[2, 0] = value
    u = draws(T, P)
    with pytest.raises(InputError, match=f"`y`: expected {words}.*received {value:g}"):
        rnn.filter(y, u, seed=0)
    with pytest.raises(InputError, match=words):
        rnn.step(rnn.start(seed=0), y[2], u[2])
    mask = torch.ones(T, rnn.obs_dim, dtype=torch.bool)
    mask[2] = False
    found = rnn.log_likelihood(y, u, mask=mask, method=ss.ParticleFilter(50), seed=0)
    assert torch.isfinite(found)


def test_what_has_no_value_is_named() -> None:
    """Before fit, every verb says which parameters lack values."""
    with pytest.raises(InputError, match="`A, W, b, C"):
        ss.NoisyRNN(N, M, P).sample(3, inputs=draws(3, P))
