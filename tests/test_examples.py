"""The examples run, and their own assertions about their numbers hold."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parent.parent / "examples"
ALONE = [  # need no data beyond the package's
    pytest.param("approximations.py", marks=pytest.mark.slow),
    "bearings.py",
    "counts.py",
    pytest.param("gradient_flow.py", marks=pytest.mark.slow),
    pytest.param("krishnan_toys.py", marks=pytest.mark.slow),
    pytest.param("nuts.py", marks=pytest.mark.slow),
    pytest.param("pendulum.py", marks=pytest.mark.slow),
    "stochastic_volatility.py",
]
SYSTEMS = ("cascaded_tanks.csv", "silverbox.csv")
FOLDER = os.environ.get("STATESPACE_DATA")


def run(name: str, folder: Path, *arguments: str) -> str:
    """What an example prints, run in a process of its own, in an empty folder."""
    path = os.pathsep.join([str(EXAMPLES.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("name", ALONE)
def test_runs(name, tmp_path):
    """And leaves the folder empty."""
    run(name, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_demo_compares_by_three_methods_and_draws(tmp_path):
    """The kinds of the numbers stand apart, and the figure is where it says."""
    said = run("demo.py", tmp_path)
    for kind in ("exact", "approximate", "estimate"):
        assert f"{kind} log-likelihoods" in said
    assert (tmp_path / "demo" / "sunspots.png").stat().st_size > 10_000


def test_krishnans_toys_in_small(monkeypatch, tmp_path):
    """Both toys with few series and updates: the grid is exact, the bound below it, a figure drawn.

    How good the guide becomes is left to the whole example.
    """
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import krishnan_toys as example

    found = [example.compare(toy, 20, 10) for toy in (example.linear(), example.nonlinear())]
    assert found[0].exact == pytest.approx(found[0].usual, abs=1e-4)
    for one in found:
        assert one.gap > 0
        assert one.exact_rmse < 1.02 * one.usual_rmse
        mean = one.guided.smooth(one.y, method=one.guided.learning_method(), seed=0).mean[..., 0]
        assert one.rmse == pytest.approx(float((mean - one.z).square().mean().sqrt()), rel=0.05)
        assert not any(p.requires_grad for p in one.toy.model.parameters())
    assert "lower bound" in example.table(found)
    example.draw(found).savefig(tmp_path / "toys.png")
    assert (tmp_path / "toys.png").stat().st_size > 10_000


def test_gradient_flow_in_small(monkeypatch, tmp_path):
    """A short lag and few updates: the flow is that of autograd, and the gates begin as told."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import gradient_flow as example

    y, u = example.recall(50, 12, 0)
    assert y[:, :-1].isnan().all()
    assert torch.equal(y[:, -1, 0], (u[:, 0, 0] > 0).float())
    assert not u[:, 1:, 0].any()
    found = [example.learn(*cell, lag=12, steps=3) for cell in example.CELLS]
    first = example.network("rnn", None)
    _, inputs = example.recall(200, 12, 1)
    w = dict(first.path.kernel.named_parameters())
    rows, before = [], torch.zeros(example.UNITS)
    for row in inputs[0]:
        at = before.detach().requires_grad_()
        pre = w["weight_ih_l0"] @ row + w["bias_ih_l0"] + w["weight_hh_l0"] @ at + w["bias_hh_l0"]
        after = pre.tanh()
        rows.append(torch.stack([torch.autograd.grad(x, at, retain_graph=True)[0] for x in after]))
        before = after.detach()
    product = torch.eye(example.UNITS)
    for jacobian in rows[1:]:
        product = jacobian @ product
    norm = float(torch.linalg.matrix_norm(product, ord=2).log())
    assert float(found[0].start.log_norms_back[0, 0]) == pytest.approx(norm, abs=1e-3)
    rate = {one.name: float(one.start.rate.mean()) for one in found}
    for cell in ("LSTM", "GRU"):  # the further open a gate begins, the less is lost
        assert rate[f"{cell}, ajar"] < rate[cell] - 0.1
        assert rate[cell] < rate[f"{cell}, open"] - 0.05
    assert all(0.3 < one.loss < 1.5 for one in found)
    assert example.table(found).count("\n") == len(example.CELLS)
    example.draw(found).savefig(tmp_path / "flow.png")
    assert (tmp_path / "flow.png").stat().st_size > 10_000


@pytest.fixture
def linear_or_recurrent(monkeypatch):
    """The example as a module, beside the modules it imports, without the driven systems."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.delenv("STATESPACE_DATA", raising=False)
    import lds_and_rnn
    import lds_and_rnn_records

    threads = torch.get_num_threads()
    yield lds_and_rnn, lds_and_rnn_records
    torch.set_num_threads(threads)


def test_linear_or_recurrent_without_the_driven_systems(
    linear_or_recurrent, monkeypatch, tmp_path, capsys
):
    """Sunspots with reduced sizes; what is missing is left out, with a sentence; figure and page.

    The judgement is left to the whole example: it is about models that have been learned.
    """
    example, records = linear_or_recurrent

    def sunspots():
        return records.sunspots(sizes=(2,), networks=(2,), steps=5)

    monkeypatch.setattr(
        example, "RECORDS", ((sunspots, lambda _: ["A sentence."]), *example.RECORDS[1:])
    )
    page = tmp_path / "page.md"
    page.write_text("before <!-- table -->old<!-- end of table --> after", encoding="utf-8")
    (found,) = example.main(figures=tmp_path, page=page)
    said = capsys.readouterr().out
    assert "tanks is left out. " in said
    assert "silverbox is left out. " in said
    assert "STATESPACE_DATA" in said
    assert (tmp_path / "yearly_sunspots.png").stat().st_size > 10_000
    text = page.read_text(encoding="utf-8")
    assert "A sentence." in text
    assert "old" not in text
    assert text.startswith("before")
    assert text.endswith("after")
    for one in (found.linear, found.network):
        assert f"| {one.name} |" in text
        # a dumb oracle: rows one at a time, intervals of the one-step forecasts counted by hand
        state = one.fit.model.filter(found.problem.before_test.y).state
        inside, errors = [], []
        for row in found.problem.test.y:
            ahead = one.fit.model.forecast(horizon=1, state=state)
            low, high = ahead.interval(0.9)
            inside.append(bool((low <= row) & (row <= high)))
            errors.append(float(row - ahead.mean))
            state, _ = one.fit.model.step(state, row)
        assert one.covered == pytest.approx(sum(inside) / len(inside))
        assert one.rmse**2 == pytest.approx(sum(e**2 for e in errors) / len(errors))
    total = found.network.score.value - found.linear.score.value
    assert float(found.gaps().sum()) == pytest.approx(total)


@pytest.mark.slow
@pytest.mark.skipif(
    FOLDER is None or not all((Path(FOLDER) / name).exists() for name in SYSTEMS),
    reason="needs the driven systems in the folder that STATESPACE_DATA names",
)
def test_linear_or_recurrent(tmp_path):
    """The whole example, with what it asserts about all three records."""
    said = run("lds_and_rnn.py", tmp_path)
    assert said.count("free-run RMSE") == 3
    assert not list(tmp_path.iterdir())
