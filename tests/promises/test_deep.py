"""However a deep model is asked, the answer is the same.

Where random numbers are drawn, the promise is of the same seed and the same numbers; batches and
padding change what each series draws, and are compared where nothing is drawn.

Would catch: a fused scan that is not the loop, padding that leaks, a state that forgets what was
fed back, a first row that reads another origin than a sample does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from deep_cases import CASES, IDS, DeepCase, rows
from torch import Tensor

import statespace as ss
from statespace.interface import stepping

F64 = torch.float64
EXACT = [c for c in CASES if c.exact]
WHOLE = [c for c in CASES if c.lengths is None or int(c.lengths.min()) > 3]
every = pytest.mark.parametrize("case", CASES, ids=IDS)
exact = pytest.mark.parametrize("case", EXACT, ids=lambda c: c.name)


def same(a: Any, b: Any, bound: float = 1e-10) -> None:
    if a is None or b is None:
        assert a is b
        return
    assert a.shape == b.shape
    assert torch.allclose(a.detach(), b.detach(), rtol=bound, atol=bound, equal_nan=True)


def value(model: Any, **data: Any) -> Tensor:
    with torch.no_grad():
        return model.log_likelihood(**data, seed=0)


@every
def test_the_contract(case: DeepCase) -> None:
    """check_model: shapes, joint all at once = stepped, batches, padding, gradients, particles."""
    if case.condition is not None:
        pytest.skip("check_model gives no condition")
    assert len(ss.check_model(case.make())) == 8


@every
def test_the_kind_and_the_shapes(case: DeepCase) -> None:
    """Exact where nothing is drawn; every record has the batch, the rows and the columns."""
    model, data, batch = case.make(), case.data(), case.y.shape[:-2]
    f = model.filter(**data, seed=0)
    assert f.kind == ("exact" if case.exact else "estimate")
    looks = "latent" in case.tags and not model.guide.causal
    assert model.score(**data, seed=0).kind == ("lower bound" if looks else f.kind)
    assert f.increments.shape == (*batch, case.T)
    assert f.log_likelihood.shape == batch
    assert f.mean.shape == (*batch, case.T, model.latent.size)
    if not model.categorical:
        assert f.y_mean.shape == f.innovations.shape == case.y.shape
        assert f.y_cov.shape == (*case.y.shape, case.y.shape[-1])
        s = model.smooth(**data, seed=0)
        seen = ~case.y.isnan() & ~s.y_mean.isnan()
        same(s.y_mean[seen], case.y[seen])
    u = {} if case.u is None else {"inputs": case.u}
    ahead = model.forecast(**{**data, **u}, horizon=3, seed=0, num_samples=20)
    assert ahead.samples.shape == (20, *batch, 3, case.y.shape[-1])
    assert model.sample(4, (2,), **_free(case)).y.shape[-2:] == (4, case.y.shape[-1])


def _free(case: DeepCase) -> dict[str, Any]:
    found: dict[str, Any] = {"seed": 0}
    if case.u is not None:
        found["inputs"] = case.u[..., :4, :]
    if case.condition is not None:
        found["condition"] = case.condition
    return found


@every
def test_increments_add_up(case: DeepCase) -> None:
    """The log-likelihood is the sum of the filter's increments; padding has none."""
    model, data = case.make(), case.data()
    f = model.filter(**data, seed=0)
    same(f.increments.nansum(-1), f.log_likelihood)
    if case.exact:
        same(value(model, **data), f.log_likelihood)


@pytest.mark.parametrize("case", WHOLE, ids=lambda c: c.name)
def test_step_by_step(case: DeepCase) -> None:
    """start and step give the rows of filter, random numbers included."""
    model, data = case.make(), case.data()
    whole = model.filter(**data, seed=0)
    state = model.start(case.y.shape[:-2], seed=0, condition=case.condition)
    active = torch.arange(case.T) < (case.T if case.lengths is None else case.lengths[:, None])
    for t in range(case.T):
        if not bool(torch.as_tensor(active[..., t]).all()):
            break
        row = rows(data, t, t + 1)
        u = row["inputs"][..., 0, :] if "inputs" in row else None
        mask = row["mask"][..., 0, :] if "mask" in row else None
        state, info = model.step(state, row["y"][..., 0, :], u, mask=mask)
        same(info.increment, whole.increments[..., t])
        if whole.y_mean is not None:
            same(info.y_mean, whole.y_mean[..., t, :])
            same(info.y_cov, whole.y_cov[..., t, :, :])
        assert state.t == t + 1


@pytest.mark.parametrize("case", WHOLE, ids=lambda c: c.name)
@pytest.mark.parametrize("cut", [1, 3])
def test_first_part_then_the_rest(case: DeepCase, cut: int) -> None:
    """Going on from the state of the first rows is the whole, random numbers included."""
    if case.lengths is not None:
        pytest.skip("a series that ended does not go on")
    model, data = case.make(), case.data()
    whole = model.filter(**data, seed=0)
    first = model.filter(**rows(data, 0, cut), seed=0)
    rest = model.filter(**{**rows(data, cut, case.T), "state": first.state})
    same(torch.cat([first.increments, rest.increments], -1), whole.increments)
    again = model.log_likelihood(**rows(data, cut, case.T), state=first.state)
    if "latent" not in case.tags or model.guide.causal:
        same(again, rest.log_likelihood)
    assert bool(torch.isfinite(again).all())


@exact
def test_batched_is_looped_and_padded_is_not(case: DeepCase) -> None:
    """A series in a batch, padded or not, is that series alone."""
    if case.y.dim() != 3:
        pytest.skip("one batch axis is enough")
    model = case.make()
    together = value(model, **case.data())
    f = list(model.filter(**case.data(), seed=0))
    for i, alone in enumerate(case.series()):
        one = model.filter(**alone, seed=0)
        same(together[i], one.log_likelihood)
        same(f[i].increments, one.increments)
        same(f[i].y_mean, one.y_mean)


@every
def test_nan_is_mask(case: DeepCase) -> None:
    """NaN, and any number under a False of the mask, are the same: not observed."""
    if case.make().categorical:
        pytest.skip("categories are never NaN")
    model, data = case.make(), case.data()
    y = data["y"]
    masked = {**data, "y": torch.where(y.isnan(), 1e30, y), "mask": ~y.isnan()}
    same(value(model, **masked), value(model, **data), 0.0)


@every
def test_padding_changes_nothing(case: DeepCase) -> None:
    """Values beyond the end of a series: none reaches a number, a gradient, a random draw."""
    if case.lengths is None:
        pytest.skip("no padding")
    model, data = case.make(), case.data()
    beyond = torch.arange(case.T) >= case.lengths[:, None]
    y = data["y"].clone()
    y[beyond] = 1 if model.categorical else 7e3
    other = {**data, "y": y}
    if "inputs" in data:
        u = data["inputs"].clone()
        u[beyond] = -9e3
        other["inputs"] = u
    same(value(model, **other), value(model, **data), 0.0)
    slopes = []
    for d in (data, other):
        found = model.log_likelihood(**d, seed=0).sum()
        slopes.append(torch.autograd.grad(found, list(model.parameters()), allow_unused=True))
    for a, b in zip(*slopes, strict=True):
        same(a, b, 1e-12)


@exact
def test_the_gradient_is_the_derivative(case: DeepCase) -> None:
    """Along a random direction of all parameters, by differences of fourth order."""
    model, data = case.make(), case.data()
    params = [p for p in model.parameters() if p.requires_grad]
    g = torch.Generator().manual_seed(5)
    way = [torch.randn(p.shape, generator=g, dtype=p.dtype) for p in params]
    total = model.log_likelihood(**data).sum()
    grads = torch.autograd.grad(total, params, allow_unused=True)
    ours = sum(float((a * b).sum()) for a, b in zip(grads, way, strict=True) if a is not None)
    begin = [p.detach().clone() for p in params]

    def at(x: float) -> float:
        with torch.no_grad():
            for p, b, w in zip(params, begin, way, strict=True):
                p.copy_(b + x * w)
        return float(value(model, **data).sum())

    h = 1e-3
    numeric = (at(-2 * h) - 8 * at(-h) + 8 * at(h) - at(2 * h)) / (12 * h)
    assert ours == pytest.approx(numeric, rel=1e-7, abs=1e-7 * abs(float(total.detach())))


@every
def test_the_gradient_is_finite(case: DeepCase) -> None:
    """In all parameters and in y; zero in y where it was not observed."""
    model, data = case.make(), case.data()
    if not model.categorical:
        data["y"] = data["y"].clone().requires_grad_()
    model.log_likelihood(**data, seed=0).sum().backward()
    for name, p in model.named_parameters():
        assert p.grad is None or bool(torch.isfinite(p.grad).all()), name
    if not model.categorical:
        slope = data["y"].grad
        assert bool(torch.isfinite(slope).all())
        assert bool((slope[case.y.isnan()] == 0).all())


@exact
def test_a_forecast_is_that_of_unobserved_rows(case: DeepCase) -> None:
    """Free runs from the end have the one-step mean of a filter that goes on without y."""
    model, data = case.make(), case.data()
    if case.lengths is not None or model.categorical or case.condition is not None:
        pytest.skip("series of one length")
    more = {} if case.u is None else {"inputs": case.u[..., : case.T + 1, :]}
    blank = torch.full_like(case.y[..., :1, :], torch.nan)
    f = model.filter(torch.cat([data["y"], blank], -2), **more)
    ahead = model.forecast(data["y"], **more, horizon=1, seed=0)
    same(ahead.mean[..., 0, :], f.y_mean[..., -1, :])
    same(ahead.cov[..., 0, :, :], f.y_cov[..., -1, :, :])


@every
def test_a_forecast_in_parts(case: DeepCase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Moments that are averaged over few rows at a time are those of all rows at once."""
    model, data = case.make(), case.data()
    more: dict[str, Any] = {} if case.u is None else {"inputs": case.u}
    asked = {**data, **more, "horizon": 3, "seed": 0, "num_samples": 5}
    whole = model.forecast(**asked)
    monkeypatch.setattr(stepping, "_AT_ONCE", 1)
    parts = model.forecast(**asked)
    for name in ("mean", "cov", "probs", "samples"):
        same(getattr(parts, name), getattr(whole, name), 1e-12)


@every
def test_one_seed_one_answer(case: DeepCase) -> None:
    """The same numbers again, and torch's own generator is left alone."""
    model, data = case.make(), case.data()
    before = torch.get_rng_state()
    one, two = (model.log_likelihood(**data, seed=3) for _ in range(2))
    assert torch.equal(one, two)
    a, b = (model.sample(4, **_free(case)).y for _ in range(2))
    assert torch.equal(a, b)
    assert torch.equal(before, torch.get_rng_state())
    weights = [list(case.make().parameters()) for _ in range(2)]
    assert all(torch.equal(p, q) for p, q in zip(*weights, strict=True))


@every
@pytest.mark.parametrize("dtype", [F64, torch.float32], ids=["float64", "float32"])
def test_saved_is_loaded(case: DeepCase, dtype: torch.dtype, tmp_path: Path) -> None:
    """A loaded model gives the same numbers to the last bit, units of the data included."""
    model, data = case.make(dtype), case.data(dtype)
    model.fit(**data, learner=ss.Gradient(2), seed=0)
    next(model.parameters()).requires_grad_(False)
    model.save(tmp_path / "model")
    again = ss.load(tmp_path / "model")
    assert again.dtype == dtype
    assert repr(again) == repr(model)
    assert torch.equal(value(model, **data), value(again, **data))
    held = [[p.requires_grad for p in m.parameters()] for m in (model, again)]
    assert held[0] == held[1]
    assert not held[0][0]


@every
def test_float32(case: DeepCase) -> None:
    """The same numbers in single precision, to its precision."""
    model = case.make(torch.float32)
    model.load_state_dict(case.make().state_dict())
    single = model.log_likelihood(**case.data(torch.float32), seed=0)
    assert single.dtype == torch.float32
    if case.exact:
        same(single.double(), value(case.make(), **case.data()), 1e-4)
    if not model.categorical:
        assert model.filter(**case.data(torch.float32), seed=0).y_mean.dtype == torch.float32


@every
def test_a_fit_climbs(case: DeepCase) -> None:
    """A few updates on its own data raise what is climbed; random numbers are averaged over ten."""
    model, data = case.make(), case.data()
    history = model.fit(**data, learner=ss.Gradient(40, lr=1e-2), seed=0).history
    assert sum(history[-10:]) > sum(history[:10])


@pytest.mark.cuda
@every
def test_on_a_device(case: DeepCase) -> None:
    """The same numbers where nothing is drawn, and everything stays there: verbs and a fit."""
    here, there = case.make(), case.make().to("cuda")
    data = {k: v.to("cuda") for k, v in case.data().items()}
    found = value(there, **data)
    assert found.device.type == "cuda"
    if case.exact:
        same(found.cpu(), value(here, **case.data()), 1e-9)
    f = there.filter(**data, seed=0)
    assert f.increments.device.type == f.mean.device.type == "cuda"
    assert there.smooth(**data, seed=0).mean.device.type == "cuda"
    free = {k: v.to("cuda") if isinstance(v, Tensor) else v for k, v in _free(case).items()}
    assert there.sample(4, **free).y.device.type == "cuda"
    learner = ss.Gradient(2) if case.y.dim() < 3 else ss.Gradient(2, batch_size=2, clip=1.0)
    fit = there.fit(**data, learner=learner, seed=0)
    assert all(p.device.type == "cuda" for p in there.parameters())
    assert torch.isfinite(torch.tensor(fit.history)).all()
