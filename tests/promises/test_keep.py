"""What `keep=` holds is what the whole record says, for every model and method; the rest is gone.

Would catch: a mean that comes out differently without its covariance, a last row of another series,
and a field that is silently None.
"""

from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from cases import CASES, IDS, Case
from contract.tiny import MODELS, ragged_case
from torch import Tensor

import statespace as ss
from statespace import kernels
from statespace.errors import FieldError, InputError
from statespace.inference.kalman import method as kalman_method

PARTICLES = {"ancestors", "particles"}  # of all rows, or not at all
LARGE = {
    "filter": {"cov", "predicted_cov", "y_cov"} | PARTICLES,
    "smooth": {"cov", "cross_cov", "y_cov", "pair_probs"},
}


def same(a: Tensor, b: Tensor, bound: float = 1e-10) -> None:
    assert a.shape == b.shape
    size = max(1.0, float(b.nan_to_num(posinf=0.0, neginf=0.0).abs().max())) if b.numel() else 1.0
    assert torch.allclose(a, b, rtol=bound, atol=bound * size, equal_nan=True)


def last_of(x: Tensor, lengths: Tensor) -> Tensor:
    """Row `length - 1` of each series, one by one."""
    rank = lengths.ndim
    flat = x.reshape(-1, *x.shape[rank:])
    ends = lengths.reshape(-1).tolist()
    rows = torch.stack([one[end - 1 : end] for one, end in zip(flat, ends, strict=True)])
    return rows.reshape(*lengths.shape, 1, *x.shape[rank + 1 :])


def held_alike(part: Any, whole: Any, gone: set[str], bound: float) -> None:
    """All fields of `part` are those of `whole`, but for those that are gone."""
    for name in whole.layout:
        if name in gone:
            with pytest.raises(FieldError, match=f"`{name}`: expected a record of keep="):
                getattr(part, name)
        elif name != "start":
            one, other = getattr(part, name), getattr(whole, name)
            assert (one is None) == (other is None), name
            if one is not None and part.keep == "last" and whole.layout[name].rows:
                other = last_of(other, whole.lengths)
            if one is not None:
                same(one, other, bound)


def all_kept(ask: Any, bound: float) -> None:
    """The promise, of a verb with everything but `keep` told: ask(verb, keep)."""
    whole = ask("filter", "all")
    held_alike(ask("filter", "means"), whole, LARGE["filter"], bound)
    last = ask("filter", "last")
    held_alike(last, whole, PARTICLES, bound)
    assert torch.equal(last.start, whole.lengths - 1)
    assert bool((last.lengths == 1).all())
    for record in (last, ask("filter", "means")):
        for a, b in zip(record, whole, strict=True):
            assert float(a.log_likelihood) == pytest.approx(float(b.log_likelihood), rel=1e-9)
    whole = ask("smooth", "all")
    held_alike(ask("smooth", "marginals"), whole, {"cross_cov", "pair_probs"}, bound)
    held_alike(ask("smooth", "means"), whole, LARGE["smooth"], bound)


@pytest.mark.parametrize("core", ["plain", "compiled"])
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_linear_models(case: Case, core: Any) -> None:
    """Both cores: moments, ends, states to go on from, draws."""
    model, data = case.make(), case.data()

    def ask(verb: str, keep: str) -> Any:
        return getattr(model, verb)(**data, method=ss.Kalman(core), keep=keep)

    all_kept(ask, 1e-10)
    states = [ask("filter", keep).state for keep in ("all", "means", "last")]
    for state in states[1:]:
        same(state.belief.mean, states[0].belief.mean)
        same(state.belief.cov, states[0].belief.cov)
    if case.name != "one row, diffuse":
        whole = ask("smooth", "all").sample(3, seed=1)
        same(ask("smooth", "means").sample(3, seed=1), whole)


@pytest.mark.parametrize("name", MODELS)
def test_particles(name: str) -> None:
    """A method that knows nothing of `keep` has its record trimmed."""
    model = MODELS[name]()
    y, u, lengths = ragged_case(model)

    def ask(verb: str, keep: str) -> Any:
        told = {"lengths": lengths, "method": ss.ParticleFilter(20), "seed": 4, "keep": keep}
        return getattr(model, verb)(y, u, **told)

    all_kept(ask, 0.0)
    draws = [ask("smooth", keep).sample(2, seed=0) for keep in ("all", "means")]
    for a, b in zip(*(torch.utils._pytree.tree_leaves(x) for x in draws), strict=True):
        same(a.double(), b.double(), 0.0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("kind", ["complete", "gaps", "long", "moving"])
def test_loops_that_leave_out(kind: str, dtype: torch.dtype) -> None:
    """Panels and long series, beside the plain loops; R is diagonal, so all loops are compiled."""
    g = torch.Generator().manual_seed(3)
    r = torch.diag(torch.arange(1.0, 5.0))
    rows = 1200 if kind == "long" else 150
    moving = {"A": ss.Varying(torch.diag_embed(torch.rand(rows, 3, generator=g)))}
    lds = ss.LDS(
        3, 4, b=ss.Param([0.1, 0.2, 0.3]), Q=0.3 * torch.eye(3), R=ss.Param(r, structure="diag"),
        C=torch.randn(4, 3, generator=g), initial="known", initial_mean=torch.ones(3),
        initial_cov=2.0 * torch.eye(3), dtype=dtype,
        **(moving if kind == "moving" else {"A": 0.9 * torch.eye(3)}),
    )  # fmt: skip
    y = lds.sample(rows, () if kind == "long" else (20,), seed=1).y
    if kind == "gaps":
        y[torch.rand(y.shape, generator=g) < 0.2] = torch.nan
    bound = 1e-10 if dtype == torch.float64 else 1e-4
    for verb, words in {
        "filter": ("all", "means", "last"),
        "smooth": ("marginals", "means"),
    }.items():
        whole = getattr(lds, verb)(y, method=ss.Kalman("plain"))
        for keep in words:
            part = getattr(lds, verb)(y, method=ss.Kalman("compiled"), keep=keep)
            gone = {name for name, axes in part.layout.items() if not axes.kept(keep)}
            held_alike(part, whole, gone, bound)


@pytest.mark.parametrize("start", ["diffuse", "partly", "wide"])
@pytest.mark.parametrize("kind", ["complete", "gaps", "ragged", "moving"])
def test_a_diffuse_start_is_left_behind(
    start: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long series: the first rows by plain loops, the others compiled; the numbers of plain."""
    g, rows = torch.Generator().manual_seed(0), 120

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g, dtype=torch.float64)

    A = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.7]])
    told: dict[str, Any] = {"A": A, "C": normal(2, 3), "d": normal(2), "b": ss.Param(normal(3))}
    if kind == "moving":
        told |= {"C": ss.Varying(normal(rows, 2, 3)), "A": ss.Varying(A.expand(rows, 3, 3))}
    first = {"initial_mean": normal(3), "initial_cov": torch.eye(3)}
    starts = {
        "diffuse": {"initial": "diffuse"},
        "partly": {"initial": ["diffuse", "known", "diffuse"], **first},
        "wide": {"initial": "known", **first, "initial_cov": 1e7 * torch.eye(3)},
    }
    Q, R = torch.diag(torch.tensor([0.1, 0.05, 0.3])), torch.tensor([[1.0, 0.3], [0.3, 2.0]])
    lds = ss.LDS(3, 2, Q=Q, R=R, **told, **starts[start], diffuse_constant=start != "partly")
    y = normal(4, rows, 2)
    if kind != "complete":
        y[normal(4, rows, 2) > 1.2] = torch.nan
    lengths = torch.tensor([rows, 90, 20, 33]) if kind == "ragged" else None
    found: list[Any] = []
    inner = kalman_method.run_opening
    monkeypatch.setattr(
        kalman_method, "run_opening", lambda *a, **k: found.append(inner(*a, **k)) or found[-1]
    )
    whole = lds.filter(y, lengths=lengths, method=ss.Kalman("plain"))
    for keep in ("all", "means", "last"):
        part = lds.filter(y, lengths=lengths, method=ss.Kalman("compiled"), keep=keep)
        gone = {name for name, axes in part.layout.items() if not axes.kept(keep)}
        held_alike(part, whole, gone, 1e-10)
        same(part.state.belief.mean, whole.state.belief.mean)
        same(part.state.belief.cov, whole.state.belief.cov)
    assert len(found) == 3
    assert None not in found


@pytest.mark.parametrize("gaps", [False, True], ids=["complete", "gaps"])
def test_no_covariance_is_computed_for_means(gaps: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loops are handed no room for them."""
    seen: list[Any] = []

    def watch(name: str) -> None:
        inner = getattr(kernels, name)

        def outer(*args: Any) -> Any:
            seen.extend(x for x in args if isinstance(x, kernels.Smooth | kernels.Filter))
            return inner(*args)

        monkeypatch.setattr(kernels, name, outer)

    for name in ("smooth_each", "filter_each", "quick"):
        watch(name)
    lds = ss.LDS(2, 3, R=ss.Param(torch.eye(3), structure="diag"), seed=0)
    y = lds.sample(40, (20,), seed=1).y
    if gaps:
        y[:, ::7, 1] = torch.nan
    lds.smooth(y, keep="means")
    lds.filter(y, keep="means")
    assert seen  # of the smoother; the filter has tables of its own
    assert seen[0].cov.size == seen[0].cross.size == 0
    assert seen[0].mean.size == 20 * 40 * 2
    seen.clear()
    lds.smooth(y, keep="marginals")
    assert [x.cross.size for x in seen] == [0] * len(seen)


SCRIPT = """
import resource, torch, statespace as ss

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

A, I = [[1.0, 1.0], [0.0, 0.9]], torch.eye(2)
lds = ss.LDS(2, 2, A=A, C=I, Q=I, R=I, START)
g = torch.Generator().manual_seed(0)
y = torch.randn(1_000_000, 2, generator=g, dtype=torch.float64)
GAPS
lds.filter(y[:2000], keep="last")
before = peak()
f = lds.filter(y, keep="last")
grown = peak() - before
with torch.no_grad():
    assert abs(float(lds.log_likelihood(y) / f.log_likelihood) - 1) < 1e-10
assert f.mean.shape == (1, 2)
print(grown)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is counted in other units here")
@pytest.mark.parametrize(
    ("start", "gaps"),
    [
        ("seed=0", ""),
        ("seed=0", "y[::10] = torch.nan"),
        ("initial='diffuse'", "y[::9] = torch.nan"),
    ],
    ids=["complete", "gaps", "diffuse, gaps"],
)
def test_the_last_of_a_million_rows_in_fifty_megabytes(start: str, gaps: str) -> None:
    """Peak memory of the process, against the peak after a short call."""
    script = SCRIPT.replace("START", start).replace("GAPS", gaps)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 50


@pytest.mark.parametrize("batch", [(), (1,), (5,)], ids=str)
def test_the_short_way_keeps_as_the_long_one(batch: tuple[int, ...]) -> None:
    """Plain tensors and arrays, with and without an axis of features, for which no door opens."""
    lds = ss.LDS(2, 1, seed=0)
    y = lds.sample(20, batch, seed=1).y
    for data in (y, y.numpy(), *(() if batch else (y[:, 0],))):
        whole = lds.smooth(data, mask=np.ones(np.shape(data), dtype=bool))  # a mask is looked at
        for keep in ("marginals", "means"):
            part = lds.smooth(data, keep=keep)
            gone = {name for name, axes in part.layout.items() if not axes.kept(keep)}
            held_alike(part, whole, gone, 1e-10)
            same(part.sample(2, seed=3), whole.sample(2, seed=3))


@pytest.mark.parametrize("keep", ["mean", "", None, True, 1, torch.ones(2), "last"])
def test_another_word_is_refused(keep: Any) -> None:
    """By both verbs, before the data are looked at; and `last` where it means nothing."""
    lds = ss.LDS(1, 1, seed=0)
    with pytest.raises(InputError, match='`keep`: expected "all", "marginals" or "means", rec'):
        lds.smooth(torch.ones(4), keep=keep)
    if keep != "last":
        with pytest.raises(InputError, match='`keep`: expected "all", "means" or "last", received'):
            lds.filter("no data", keep=keep)
    else:
        with pytest.raises(InputError, match=r'that of filter\(y, keep="last"\)'):
            lds.smooth(torch.ones(4), keep=keep)


def test_records_with_less_in_them() -> None:
    """Repr, iteration, tables, copies and plots of what is there; a sentence for what is not."""
    lds = ss.LDS(2, 1, seed=0)
    days = pd.date_range("2024-01-01", periods=8, name="day")
    y = pd.DataFrame({"flow": np.arange(8.0)}, index=days)
    f, last = lds.filter(y, keep="means"), lds.filter(y, keep="last")
    s, pairs = lds.smooth(y, keep="means"), lds.smooth(y, keep="marginals")
    for record, word in ((f, "means"), (last, "last"), (s, "means"), (pairs, "marginals")):
        assert f'keep="{word}"' in repr(record)
        assert "log_likelihood" in repr(next(iter(record)))
        again = copy.copy(record)
        assert again.keep == word
        assert torch.equal(again.mean, record.mean)
    assert list(f.to_frame()["z[0]"].columns) == ["mean"]
    assert list(f.to_frame()["flow"].columns) == ["prediction", "innovation"]
    assert list(last.to_frame().index) == [days[-1]]
    assert list(lds.filter(torch.ones(8, 1), keep="last").to_frame().index) == [7]
    assert list(s.to_frame().columns) == [("z[0]", "mean"), ("z[1]", "mean"), ("flow", "mean")]
    for name in ("cov", "stddev", "y_stddev", "cross_cov"):
        assert not hasattr(s, name)
        with pytest.raises(FieldError, match=f"`{name}`.*received one of keep=.means.*Ask again"):
            getattr(s, name)
    with pytest.raises(FieldError, match=r"`y_cov`.*Ask again with keep=.all"):
        ss.diagnostics.diagnose(f)
    with pytest.raises(FieldError, match="`stddev`"):
        ss.plot.smoothed(s)
    ss.plot.smoothed(pairs)
    with pytest.raises(AttributeError, match="Smoothed has no attribute 'covariance'"):
        _ = s.covariance


def test_a_forecast_goes_on_from_what_is_kept() -> None:
    """The state is that of the whole filter."""
    lds, y = ss.LDS(2, 2, seed=0), torch.randn(30, 2, generator=torch.Generator().manual_seed(1))
    whole = lds.forecast(y, horizon=3)
    for keep in ("all", "means", "last"):
        ahead = lds.forecast(horizon=3, state=lds.filter(y, keep=keep).state)
        same(ahead.mean, whole.mean)
        same(ahead.cov, whole.cov)
