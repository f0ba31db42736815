"""Saved is loaded: every declaration, the dtype, the numbers bit for bit; and nothing is ever lost.

Would catch: a root rebuilt from its covariance, a tie forgotten, a float written as text, a record
renamed before its tensors are there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import CASES, Case

import statespace as ss
from statespace.errors import InputTypeError, StorageError
from statespace.parameters import InverseWishart, Normal

F64 = torch.float64


def spd(n: int, seed: int = 0) -> torch.Tensor:
    root = torch.randn(n, n + 1, dtype=F64, generator=torch.Generator().manual_seed(seed))
    return root @ root.mT


def half_learned() -> ss.LDS:
    tied = ss.Param([[0.9, 0.3], [-0.3, 0.9]], labels=[[1, 2], [-2, 1]])
    c = ss.Param([[1.0, 0.5]], free=[[False, True]], prior=Normal(0.0, 2.0))
    q = ss.Param(spd(2) / 3, prior=InverseWishart(4.0, spd(2, seed=1)))
    return ss.LDS(2, 1, A=tied, C=c, d=[0.1], Q=q, R=ss.Fixed([[0.7]]), initial="stationary")


def varying() -> ss.LDS:
    rows = torch.randn(6, 1, 2, dtype=F64, generator=torch.Generator().manual_seed(3))
    q = ss.Varying(ss.Param(spd(2).expand(6, 2, 2), structure="full"))
    moments = {"initial_mean": [0.0, 1.0], "initial_cov": spd(2), "initial": ["known", "diffuse"]}
    return ss.LDS(
        2, 1, A=ss.Fixed(0.3 * torch.eye(2)), C=ss.Varying(rows), d=[0.0], Q=q, R=[[2.0]], **moments
    )


def with_graph() -> ss.LDS:
    leaf = torch.tensor([[0.5]], dtype=F64, requires_grad=True)
    return ss.LDS(1, 1, A=ss.Fixed(leaf.tanh()), C=[[1.0]], d=[0.0], Q=[[0.1]], R=[[1.0]],
                  initial="estimate", initial_mean=[1 / 3], initial_cov=[[0.1]])  # fmt: skip


MODELS: dict[str, Callable[[], Any]] = {
    "tied, half held, priors": half_learned,
    "varying, partly diffuse": varying,
    "held with a graph, estimated start": with_graph,
    "not set": lambda: ss.LDS(3, 2, 1),
    "a sum, not set": lambda: ss.LDS.local_trend() + ss.LDS.seasonal(4) + ss.LDS.arma(2, 1),
    "without a state": lambda: ss.LDS.regression(2),
    "float32": lambda: ss.LDS(2, 2, seed=0, dtype=torch.float32),
    "not counting the constant": lambda: ss.LDS.local_level().replace(diffuse_constant=False),
    "three models": lambda: ss.LDS(
        1,
        1,
        A=torch.full((3, 1, 1), 0.5),
        C=[[1.0]],
        d=[0.0],
        Q=spd(1),
        R=[[1.0]],
        initial="stationary",
    ),
}


def assert_same(one: Any, two: Any) -> None:
    """The same declarations, and tensors that are equal bit for bit."""
    assert type(one) is type(two)
    for name in ("kinds", "dtype", "diffuse_constant"):
        assert getattr(one, name) == getattr(two, name), name
    assert one.num_params == two.num_params
    assert one.batch_shape == two.batch_shape
    for name in one.slots:
        a, b = one.slot(name), two.slot(name)
        assert torch.equal(a.pattern.labels, b.pattern.labels), name
        assert (a.is_set, a.varies, a.n_free) == (b.is_set, b.varies, b.n_free), name
        assert torch.equal(a.held, b.held), name
        assert (a.theta is None) == (b.theta is None), name
        if a.theta is not None:
            assert torch.equal(a.theta, b.theta), name
            assert a.theta.dtype == b.theta.dtype, name
        assert torch.equal(a.log_prior(), b.log_prior()) if a.is_set else True, name


@pytest.mark.parametrize("name", MODELS)
def test_declarations_and_numbers(name: str, tmp_path: Path) -> None:
    """What comes back is what was saved, whatever was declared."""
    model = MODELS[name]()
    model.save(tmp_path / "model")
    assert_same(model, ss.load(tmp_path / "model"))


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_the_same_answers(case: Case, dtype: torch.dtype, tmp_path: Path) -> None:
    """A loaded model gives the same log-likelihood, to the last bit."""
    model = case.make(dtype)
    model.save(tmp_path / "model")
    again = ss.load(tmp_path / "model")
    data = case.data(dtype)
    assert torch.equal(model.log_likelihood(**data), again.log_likelihood(**data))


def test_only_json_and_safetensors(tmp_path: Path) -> None:
    """The folder holds a readable record and one file of tensors; no pickle, nothing temporary."""
    half_learned().save(tmp_path / "model")
    names = sorted(p.name for p in (tmp_path / "model").iterdir())
    assert names[0] == "model.json"
    assert [p.split(".")[-1] for p in names] == ["json", "safetensors"]
    record = json.loads((tmp_path / "model" / "model.json").read_text())
    assert (record["format"], record["version"], record["model"]) == ("statespace", 1, "LDS")


def test_saving_again_replaces(tmp_path: Path) -> None:
    """A second save to the same place leaves the second model and no file of the first."""
    half_learned().save(tmp_path / "model")
    varying().save(tmp_path / "model")
    assert_same(varying(), ss.load(tmp_path / "model"))
    assert len(list((tmp_path / "model").iterdir())) == 2


@pytest.mark.parametrize("call", [1, 2], ids=["tensors", "record"])
def test_a_failure_loses_nothing(call: int, tmp_path: Path, monkeypatch: Any) -> None:
    """Where writing fails, the model that was stored before is still there, whole."""
    half_learned().save(tmp_path / "model")
    calls, replace = [], os.replace

    def failing(source: Any, target: Any) -> None:
        calls.append(target)
        if len(calls) == call:
            raise OSError("no space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(StorageError, match="no space left on device"):
        varying().save(tmp_path / "model")
    monkeypatch.undo()
    assert_same(half_learned(), ss.load(tmp_path / "model"))
    assert not [p for p in (tmp_path / "model").iterdir() if p.name.startswith(".")]


def test_in_the_way(tmp_path: Path) -> None:
    """A file, or a folder of something else, is not written over."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("mine")
    for place, words in (("file", "a folder, received the file"), ("folder", "holds other files")):
        with pytest.raises(StorageError, match=words):
            half_learned().save(tmp_path / place)
    assert (tmp_path / "folder" / "thesis.tex").read_text() == "mine"


def edit(folder: Path, **changes: Any) -> None:
    record = json.loads((folder / "model.json").read_text())
    for key, value in changes.items():
        if value is None:
            del record[key]
        else:
            record[key] = value
    (folder / "model.json").write_text(json.dumps(record))


def tensors_of(folder: Path) -> Path:
    return next(folder.glob("*.safetensors"))


def cut(folder: Path) -> None:
    whole = tensors_of(folder).read_bytes()
    tensors_of(folder).write_bytes(whole[: len(whole) // 2])


def other_shape(folder: Path) -> None:
    edit(folder, latent_dim=3)


BREAK: dict[str, tuple[Callable[[Path], Any], str]] = {
    "nothing there": (lambda f: (f / "model.json").unlink(), "holds model.json, received"),
    "later version": (lambda f: edit(f, version=2), "format version 1, received version 2"),
    "unknown model": (lambda f: edit(f, model="Oracle"), "a model that is known here"),
    "another format": (lambda f: edit(f, format="onnx"), "it is not a stored model"),
    "a field gone": (lambda f: edit(f, slots=None), "no 'slots'"),
    "record cut short": (lambda f: (f / "model.json").write_text("{"), "as they were written"),
    "tensors gone": (lambda f: tensors_of(f).unlink(), "no such file"),
    "tensors cut short": (cut, "bytes are not those that were written"),
    "sizes changed": (other_shape, "tensors of an LDS"),
}


@pytest.mark.parametrize("name", BREAK)
def test_broken(name: str, tmp_path: Path) -> None:
    """Each way to be broken is a StorageError with the reason and what to do."""
    half_learned().save(tmp_path / "model")
    breaks, words = BREAK[name]
    breaks(tmp_path / "model")
    with pytest.raises(StorageError, match=words) as caught:
        ss.load(tmp_path / "model")
    assert "`path`: expected" in str(caught.value)


def test_functions_that_are_not_asked_for(tmp_path: Path) -> None:
    """An LDS stores everything; a function handed over is refused by name."""
    half_learned().save(tmp_path / "model")
    with pytest.raises(InputTypeError, match="no functions for LDS, received g"):
        ss.load(tmp_path / "model", g=torch.tanh)


def test_loaded_learns(tmp_path: Path) -> None:
    """A loaded model can be trained: its parameters are leaves that ask for gradients."""
    half_learned().save(tmp_path / "model")
    again = ss.load(tmp_path / "model")
    again.log_likelihood(torch.randn(20, 1, dtype=F64)).backward()
    assert all(p.grad is not None for p in again.parameters())
