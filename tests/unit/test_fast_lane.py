"""Plain data are answered without the door, with the numbers and the errors of the long way.

Would catch: an answer from arrays of parameters that have changed since, a fast answer where the
long way refuses, and a fast lane that is never taken.
"""

from __future__ import annotations

import copy
import io
import pickle
import threading
from typing import Any

import numpy as np
import pytest
import torch
from cases import CASES, IDS, Case

import statespace as ss
from statespace.inference.kalman import kept
from statespace.inference.kalman.method import Kalman
from statespace.parameters import CovarianceSlot, Slot

MOMENTS = ("log_likelihood", "mean", "cov", "cross_cov", "y_mean", "y_cov", "lengths")
LONG = ss.Kalman()  # a method that is given goes through the door


def make(n: int = 2, m: int = 2, **kwargs: Any) -> ss.LDS:
    eye, g = torch.eye(n).double(), torch.Generator().manual_seed(3)
    given = {
        "A": 0.5 * eye + 0.1,
        "C": torch.randn(m, n, generator=g).double(),
        "Q": 0.3 * eye,
        "R": 0.4 * torch.eye(m).double() + 0.1,
        "initial_mean": torch.zeros(n),
        "initial_cov": eye,
    }
    return ss.LDS(n, m, **{**given, **kwargs})


def series(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5), dtype=dtype)


def taken(model: Any, y: Any) -> bool:
    return Kalman().at_once("log_likelihood", model, y) is not None


def same(a: Any, b: Any) -> None:
    assert a.shape == b.shape
    assert a.dtype == b.dtype
    assert torch.equal(a.nan_to_num(), b.nan_to_num())
    assert torch.equal(a.isnan(), b.isnan())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_same_answers(case: Case, dtype: torch.dtype) -> None:
    """Over the table of cases, with what is missing or without: value, gradients, moments."""
    model = case.make(dtype=dtype)
    for y in (case.data(dtype)["y"], case.data(dtype)["y"].nan_to_num(nan=0.5)):
        if case.u is not None:
            assert not taken(model, y)
            continue
        found = []
        for method in (None, LONG):
            value = model.log_likelihood(y, method=method)
            weight = torch.linspace(0.5, 2.0, max(1, value.numel()), dtype=dtype).view(value.shape)
            learned = list(model.parameters())
            grads: tuple[Any, ...] = ()
            if value.requires_grad:  # not where all is held
                grads = torch.autograd.grad((value * weight).sum(), learned, allow_unused=True)
            with torch.no_grad():
                same(model.log_likelihood(y, method=method), value.detach())
            found.append([value.detach(), *(g for g in grads if g is not None)])
            moments = model.smooth(y, method=method)
            found[-1] += [getattr(moments, name) for name in MOMENTS]
            if case.name != "one row, diffuse":  # of which no draws can be had
                found[-1].append(moments.sample(2, seed=4))
        tight = {"rtol": 1e-12, "atol": 1e-12} if dtype == torch.float64 else {}
        for a, b in zip(*found, strict=True):
            torch.testing.assert_close(a, b, equal_nan=True, **tight)


@pytest.mark.parametrize("shape", [(30, 2), (3, 30, 2), (1, 30, 2), (300, 2), (1, 2)], ids=str)
@pytest.mark.parametrize("initial", [None, "diffuse"])
def test_taken(shape: tuple[int, ...], initial: Any) -> None:
    """Numbers, strides and memory are those of the long way, bit for bit."""
    moments = {"initial_mean": None, "initial_cov": None, "initial": initial}
    model, y = make(**(moments if initial else {})), series(*shape)
    with torch.no_grad():
        assert taken(model, y)
    same(model.log_likelihood(y), model.log_likelihood(y, method=LONG))
    ours, long = model.smooth(y), model.smooth(y, method=LONG)
    for name in MOMENTS:
        same(getattr(ours, name), getattr(long, name))
        assert getattr(ours, name).stride() == getattr(long, name).stride()
    assert (ours.kind, ours.seed, ours.settled, ours.univariate, ours.repairs, ours.index) == (
        (long.kind, long.seed, long.settled, long.univariate, long.repairs, long.index)
    )
    assert repr(ours) == repr(long)
    assert [len(one.mean) for one in ours] == [len(one.mean) for one in long]


def test_univariate() -> None:
    """One axis: records have none of features."""
    model, y = make(1, 1), series(20)
    assert taken(model, y)
    ours, long = model.smooth(y), model.smooth(y, method=LONG)
    for name in MOMENTS:
        same(getattr(ours, name), getattr(long, name))
        assert getattr(ours, name).stride() == getattr(long, name).stride()
    assert ours.settled
    assert ours.to_frame().equals(long.to_frame())


def test_missing_and_empty_rows() -> None:
    """NaN is not observed, wherever it stands; the moments of y come when they are asked for."""
    y = series(20, 2)
    y[3:5], y[7, 0] = torch.nan, torch.nan
    model = make()
    far = torch.cat([series(5000, 2), y])  # beyond what is looked at first
    for data in (y, torch.stack([y, series(20, 2)]), far, y[:, :1].expand(-1, 2)):
        assert taken(model, data)
        same(model.log_likelihood(data), model.log_likelihood(data, method=LONG))
        ours, long = model.smooth(data), model.smooth(data, method=LONG)
        for name in (*MOMENTS, "y_mean"):
            same(getattr(ours, name), getattr(long, name))
        same(ours.sample(2, seed=1), long.sample(2, seed=1))


@pytest.mark.parametrize("gaps", [False, True], ids=["complete", "gaps"])
def test_records_do_not_follow_the_data(gaps: bool) -> None:
    """What a record works out later is of the data as they were."""
    model, y = make(), series(3, 20, 2)
    if gaps:
        y[:, 3:5] = torch.nan
    want = model.smooth(y.clone())
    for data in (y, y.numpy()):
        kept = y.clone()
        out = model.smooth(data)
        data[:] = 7.0
        same(out.y_mean, want.y_mean)
        same(out.y_cov, want.y_cov)
        same(out.sample(2, seed=1), want.sample(2, seed=1))
        y.copy_(kept)


BAD = {
    "infinite": lambda y: y.masked_fill(y > 1, torch.inf),
    "both infinities": lambda y: y.masked_fill(y > 1, torch.inf).masked_fill(y < -1, -torch.inf),
    "infinite in a panel": lambda y: torch.stack([y, y.masked_fill(y > 1, torch.inf)]),
    "infinite beside gaps": lambda y: torch.stack(
        [y * torch.nan, y.masked_fill(y > 1, -torch.inf)]
    ),
    "three features": lambda y: torch.cat([y, y[:, :1]], -1),
    "one axis": lambda y: y[:, 0],
    "no rows": lambda y: y[:0],
    "no series": lambda y: y.expand(0, *y.shape),
    "a number": lambda y: y[0, 0],
    "booleans": lambda y: y > 0,
    "complex": lambda y: y.to(torch.complex128),
    "sparse": lambda y: y.to_sparse(),
}


@pytest.mark.parametrize("verb", ["log_likelihood", "smooth"])
@pytest.mark.parametrize("name", BAD)
def test_same_errors(name: str, verb: str) -> None:
    """What the door refuses is refused in the same sentence."""
    y, said = BAD[name](series(20, 2)), []
    model = make()
    for method in (None, LONG):
        with pytest.raises(ss.errors.StateSpaceError) as caught:
            getattr(model, verb)(y, method=method)
        said.append((type(caught.value), str(caught.value)))
    assert said[0] == said[1]


def test_other_data() -> None:
    """Another dtype, an order of its own in memory, four axes, y with a graph: the same numbers."""
    model, y = make(), series(20, 2)
    plain = model.log_likelihood(y, method=LONG)
    same(model.log_likelihood(y.mT.contiguous().mT), plain)
    same(model.log_likelihood(y[None, None]), plain[None, None])
    assert not taken(model, y.float())
    same(model.log_likelihood(y.float()), model.log_likelihood(y.float(), method=LONG))
    y.requires_grad_()
    assert not taken(model, y)
    assert torch.autograd.grad(model.log_likelihood(y).sum(), y)[0].shape == y.shape


def test_hard_models() -> None:
    """Noise-free entries, contradictions, overflow, NaN: the long way's answer or error."""
    y = series(10, 2)
    still = {"Q": ss.Fixed(torch.zeros(2, 2)), "R": ss.Fixed(torch.zeros(2, 2))}
    model = make(**still, initial_cov=torch.zeros(2, 2))
    assert not taken(model, y)
    assert model.log_likelihood(y) == model.log_likelihood(y, method=LONG) == -torch.inf
    wild = make(A=1e200 * torch.eye(2).double())
    for method in (None, LONG):
        with pytest.raises(ss.errors.NumericalError):
            wild.log_likelihood(y, method=method)
    model = make()
    with torch.no_grad():
        model.slots["A"].theta[0] = torch.nan
    for method in (None, LONG):
        with pytest.raises(ss.errors.NumericalError):
            model.log_likelihood(y, method=method)


def _without_values() -> Any:
    return ss.LDS(2, 2)


class _Turned(ss.LDS):
    def readout(self, ctx: Any) -> Any:
        found = super().readout(ctx)
        return type(found)(-found.weight, found.bias + 1, found.noise, found.varies)


class _Filter(Kalman):
    def log_likelihood(self, model: Any, data: Any, generator: Any, state: Any = None) -> Any:
        return super().log_likelihood(model, data, generator, state) + 1


def test_who_is_served() -> None:
    """No subclass of a model or a method, no instance with functions of its own, no batch."""
    y, model = series(10, 2), make()
    eye = torch.eye(2)
    moments = {"initial_mean": torch.zeros(2), "initial_cov": eye}
    turned = _Turned(2, 2, A=0.5 * eye, C=eye, Q=eye, R=eye, d=[1.0, 2.0], **moments)
    assert not taken(turned, y)
    same(turned.log_likelihood(y), turned.log_likelihood(y, method=LONG))
    assert _Filter().at_once("log_likelihood", model, y) is None
    assert Kalman("plain").at_once("log_likelihood", model, y) is None
    before = model.log_likelihood(y)
    model.default_method = _Filter
    torch.testing.assert_close(model.log_likelihood(y), before + 1)
    del model.default_method
    model.readout = lambda ctx: _Turned.readout(model, ctx)
    assert not taken(model, y)
    assert not taken(make(A=torch.stack([0.5 * eye, 0.6 * eye])), y)
    assert not taken(make(A=ss.Varying(0.5 * eye.expand(10, 2, 2))), y)
    assert not taken(_without_values(), y)
    with pytest.raises(ss.errors.InputError, match="none yet"):
        _without_values().log_likelihood(y)


def _fused(model: Any, y: Any) -> None:
    torch.optim.SGD(model.parameters(), lr=1e-3, fused=True).step()


CHANGES = {
    "in place": lambda model, theta: theta.mul_(1.1),
    "assigned data": lambda model, theta: setattr(theta, "data", theta * 1.1),
    "data in place": lambda model, theta: theta.data.mul_(1.1),
    "through numpy": lambda model, theta: theta.detach().numpy().__imul__(1.1),
    "set_": lambda model, theta: model.slots["A"].set_(0.3 * torch.eye(2)),
    "set_ of a covariance": lambda model, theta: model.slots["R"].set_(0.3 * torch.eye(2)),
    "adopted": lambda model, theta: model.slots["A"].adopt(model.slots["A"].held, theta * 1.1),
    "a new parameter": lambda model, theta: setattr(
        model.slots["A"], "theta", torch.nn.Parameter(theta * 1.1)
    ),
    "another slot": lambda model, theta: model.slots.update({"A": _half().slots["A"]}),
    "a held tensor": lambda model, theta: model.slots["d"].held.add_(1.0),
    "a held tensor, in data": lambda model, theta: model.slots["b"].held.data.add_(1.0),
    "a held covariance": lambda model, theta: model.slots["initial_cov"].held.mul_(2.0),
    "loaded": lambda model, theta: model.load_state_dict(_half().state_dict()),
    "loaded by assignment": lambda model, theta: model.load_state_dict(
        _half().state_dict(), assign=True
    ),
    "a held covariance, assigned data": lambda model, theta: setattr(
        model.slots["initial_cov"].held, "data", model.slots["initial_cov"].held.data * 3
    ),
}


def _half() -> ss.LDS:
    return make(A=torch.tensor([[0.2, 0.1], [0.0, 0.4]]).double())


@pytest.mark.parametrize("name", CHANGES)
def test_changed_parameters(name: str) -> None:
    """Every way of changing a parameter is noticed."""
    model, y = make(initial_cov=torch.eye(2).double() + 0.1), series(30, 2)
    before = model.log_likelihood(y).detach()
    assert taken(model, y)
    with torch.no_grad():
        CHANGES[name](model, model.slots["A"].theta)
    assert not torch.equal(before, model.log_likelihood(y).detach())
    same(model.log_likelihood(y), model.log_likelihood(y, method=LONG))
    same(model.smooth(y).mean, model.smooth(y, method=LONG).mean)


@pytest.mark.parametrize("options", [{}, {"foreach": True}, {"fused": True}], ids=str)
def test_trained(options: dict[str, bool]) -> None:
    """Optimisers' steps are seen, those too that count no version; training is the same."""
    y, ends = series(30, 2), []
    for method in (None, LONG):
        model = make()
        optimiser = torch.optim.Adam(model.parameters(), lr=0.01, **options)
        values = []
        for _ in range(5):
            optimiser.zero_grad()
            value = model.log_likelihood(y, method=method)
            (-value).backward()
            optimiser.step()
            values.append(value.item())
        ends.append(values)
    assert ends[0] == pytest.approx(ends[1], rel=1e-12)
    assert len(set(ends[0])) == 5


def test_dtype_and_inference() -> None:
    """A model that was cast, and parameters without versions."""
    model, y = make(), series(30, 2)
    model.log_likelihood(y)
    model.float()
    same(model.log_likelihood(y.float()), model.log_likelihood(y.float(), method=LONG))
    assert model.log_likelihood(y).dtype == torch.float32
    model.double()
    with torch.inference_mode():
        other = make()
        value = other.log_likelihood(y)
        assert value.is_inference()
        other.slots["A"].theta.mul_(1.1)
        assert not torch.equal(value, other.log_likelihood(y))
        same(other.log_likelihood(y), other.log_likelihood(y, method=LONG))


def test_copies() -> None:
    """Nothing is copied, pickled or stored with a model, and a copy answers for itself."""
    model, y = make(), series(30, 2)
    keys, attributes = set(model.state_dict()), set(vars(model))
    before = model.log_likelihood(y).detach()
    assert set(model.state_dict()) == keys
    assert set(vars(model)) == attributes
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    twins = [copy.deepcopy(model), copy.copy(model), pickle.loads(pickle.dumps(model))]
    twins.append(torch.load(buffer, weights_only=False))
    for twin in twins:
        same(twin.log_likelihood(y).detach(), before)
    with torch.no_grad():
        twins[0].slots["A"].theta.mul_(1.1)
    assert not torch.equal(twins[0].log_likelihood(y).detach(), before)
    same(model.log_likelihood(y).detach(), before)
    counted = len(kept._KEPT)
    del model, twins, twin
    assert len(kept._KEPT) < counted


def test_held_with_a_graph() -> None:
    """What was given with a graph gets its gradient; without one wanted the answer is at once."""
    leaf, y = torch.tensor(0.5, dtype=torch.float64, requires_grad=True), series(20, 2)
    model = make(A=ss.Fixed(leaf * torch.eye(2).double()))
    assert not taken(model, y)
    model.log_likelihood(y).backward()
    assert leaf.grad is not None
    with torch.no_grad():
        assert taken(model, y)


def test_stationary() -> None:
    """A start that hangs on A and Q: at once without a gradient, the long way with one."""
    model, y = make(initial_mean=None, initial_cov=None, initial="stationary"), series(20, 2)
    assert not taken(model, y)
    with torch.no_grad():
        assert taken(model, y)
        same(model.log_likelihood(y), model.log_likelihood(y, method=LONG))


def test_going_back_twice() -> None:
    """Second derivatives, freed graphs and parameters changed in between are refused as ever."""
    model, y = make(), series(20, 2)
    theta = model.slots["A"].theta
    for method in (None, LONG):
        (first,) = torch.autograd.grad(
            model.log_likelihood(y, method=method), theta, create_graph=True
        )
        with pytest.raises(ss.errors.DerivativeError):
            first.sum().backward()
        value = model.log_likelihood(y, method=method)
        value.backward(retain_graph=True)
        value.backward()
        with pytest.raises(RuntimeError, match="second time"):
            value.backward()
        value = model.log_likelihood(y, method=method)
        with torch.no_grad():
            theta.mul_(1.0)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            value.backward()


def test_some_learned() -> None:
    """Parameters that need no gradient get none."""
    model, y = make(), series(20, 2)
    model.slots["A"].theta.requires_grad_(False)
    model.log_likelihood(y).backward()
    assert model.slots["A"].theta.grad is None
    assert model.slots["C"].theta.grad is not None
    for p in model.parameters():
        p.requires_grad_(False)
    assert not model.log_likelihood(y).requires_grad


def test_draws_stay() -> None:
    """A record draws from the model it was made from."""
    model, y = make(), series(20, 2)
    record = model.smooth(y)
    before = record.sample(3, seed=1)
    with torch.no_grad():
        model.slots["A"].theta.mul_(0.5)
    same(record.sample(3, seed=1), before)


def test_threads() -> None:
    """Threads that change and ask see whole answers: each is that of one of the values."""
    model, y = make(), series(50, 2)
    theta = model.slots["A"].theta
    values = [theta.detach().clone(), 0.5 * theta.detach()]
    allowed = []
    for value in values:
        with torch.no_grad():
            theta.copy_(value)
            allowed.append(model.log_likelihood(y, method=LONG).item())
    found: list[float] = []

    def ask() -> None:
        for _ in range(200):
            with torch.no_grad():
                found.append(model.log_likelihood(y).item())

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for i in range(100):
        model.slots["A"].theta.data = values[i % 2].clone()
    for thread in threads:
        thread.join()
    assert set(found) <= set(allowed)
    with torch.no_grad():
        assert model.log_likelihood(y).item() == allowed[1]


def test_door_is_not_entered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lane is taken by the verbs themselves, from the second call on without the slots."""
    model, y = make(), series(20, 2)
    value = model.log_likelihood(y)
    monkeypatch.setattr(ss.interface.asking, "read", None)
    monkeypatch.setattr(CovarianceSlot, "covariance", None)
    same(model.log_likelihood(y), value)
    assert model.smooth(y).log_likelihood == value


LABELS = torch.tensor([[1, -2, 0], [2, 1, 0], [0, 3, 3]])
PLAIN = {
    "free": ss.Param(torch.randn(3, 3)),
    "held": ss.Param(torch.eye(3), free=torch.eye(3) > 0),
    "tied": ss.Param(torch.tensor([[1.0, -2, 5], [2, 1, 6], [7, 3, 3]]), free=LABELS != 0,
                     labels=LABELS),
    "diag": ss.Param(torch.eye(3), structure="diag"),
    "scalar": ss.Param(torch.eye(3), structure="scalar"),
    "a batch": ss.Param(torch.randn(4, 3, 3)),
    "varying": ss.Varying(ss.Param(torch.randn(5, 3, 3), free=LABELS > 0)),
}  # fmt: skip
P = torch.tensor([[2.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 3.0]])
BLOCK = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 0]])
COMPOUND = torch.full((3, 3), 2) - torch.eye(3, dtype=torch.int64)
ALIKE = torch.full((3, 3), 0.2) + torch.eye(3)
COVARIANCES = {
    "full": ss.Param(P + 0.1),
    "one block": ss.Param(P, free=BLOCK > 0),
    "two blocks": ss.Param(P, free=P != 0),
    "diag": ss.Param(torch.eye(3), structure="diag"),
    "scalar": ss.Param(torch.eye(3), structure="scalar"),
    "compound": ss.Param(ALIKE, labels=COMPOUND),
    "a batch": ss.Param(torch.stack([P, 2 * P]), free=P != 0),
    "varying": ss.Varying(ss.Param(torch.stack([P, 2 * P, P]), free=P != 0)),
}


@pytest.mark.parametrize("extra", [(), (6,)], ids=["", "broadcast"])
@pytest.mark.parametrize("name", [*PLAIN, *(f"P {k}" for k in COVARIANCES)])
def test_pull(name: str, extra: tuple[int, ...]) -> None:
    """The gradient in theta is autograd's, for every structure, tie and partly held pattern."""
    covariance = name.startswith("P ")
    kind = CovarianceSlot if covariance else Slot
    given = COVARIANCES[name[2:]] if covariance else PLAIN[name]
    slot = kind("Q", (3, 3), ("latent", "latent"), given, dtype=torch.float64)
    value = slot.value()
    gradient = series(*(value.shape if value.dim() > 2 else (*extra, *value.shape)))
    (wanted,) = torch.autograd.grad((value * gradient).sum(), slot.theta)
    with torch.no_grad():
        torch.testing.assert_close(slot.pull(slot.theta, gradient), wanted)


@pytest.mark.parametrize("verb", ["log_likelihood", "smooth"])
def test_arrays_go_the_same_way(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A numpy array is answered as its tensor is; float16, strides and objects go to the door."""
    lds, seen = ss.LDS(2, 3, seed=0), []
    y = lds.sample(20, seed=1).y
    inner = ss.Kalman.at_once

    def watched(self, *args):
        found = inner(self, *args)
        seen.append(found is not None)
        return found

    monkeypatch.setattr(ss.Kalman, "at_once", watched)
    with torch.no_grad():
        forms = (y, y.numpy(), np.asfortranarray(y.numpy()))
        answers = [getattr(lds, verb)(data) for data in forms]
        half = getattr(lds, verb)(y.numpy().astype(np.float16))
    assert seen == [True, True, False]
    values = [a if verb == "log_likelihood" else a.mean for a in answers]
    assert torch.equal(values[0], values[1])
    assert torch.allclose(values[0], values[2], rtol=1e-12)
    assert half is not None


def test_a_record_does_not_follow_the_array() -> None:
    """What is written to an array afterwards is not seen in a record made from it."""
    lds = ss.LDS(2, 3, seed=0)
    y = lds.sample(20, seed=1).y.numpy()
    s = lds.smooth(y)
    before = s.y_mean.clone()
    y[:] = 0.0
    assert torch.equal(s.y_mean, before)
