"""Compiled code is cached where there is room, announced once, and survives threads and forks."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest
import torch

import statespace as ss
from statespace.kernels import caching, compiling


def model() -> ss.LDS:
    return ss.LDS(2, 3, seed=0)


def data(series: int = 40) -> torch.Tensor:
    return model().sample(30, (series,), seed=1).y


def values(y: torch.Tensor) -> list[float]:
    with torch.no_grad():
        return model().log_likelihood(y).tolist()


def test_threads_give_the_numbers_of_one() -> None:
    """Pieces on several threads, and several callers at once."""
    y, before = data(), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = values(y)
        torch.set_num_threads(3)
        assert values(y) == alone
        found: list[list[float]] = [[] for _ in range(4)]

        def call(i: int) -> None:
            found[i] = values(y)

        callers = [threading.Thread(target=call, args=(i,)) for i in range(4)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(timeout=60)
        assert found == [alone] * 4
    finally:
        torch.set_num_threads(before)


class Scored(torch.utils.data.Dataset):
    """Log-likelihoods, each computed where it is asked for."""

    def __init__(self, y: torch.Tensor) -> None:
        self.y = y

    def __len__(self) -> int:
        return 4

    def __getitem__(self, i: int) -> list[float]:
        return values(self.y)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_forked_workers_of_a_loader_compute() -> None:
    """After threads have run in the parent."""
    y, before = data(), torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        here = values(y)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads
            loader = torch.utils.data.DataLoader(
                Scored(y),
                batch_size=None,
                num_workers=2,
                timeout=60,
                multiprocessing_context="fork",
            )
            there = list(loader)
        assert there == [here] * 4
    finally:
        torch.set_num_threads(before)


def test_nowhere_to_write_is_no_error(tmp_path: Path) -> None:
    """With the package and the home unwritable the loops are compiled for this process alone."""
    script = (
        "from statespace.kernels import caching\n"
        "from pathlib import Path\n"
        f"caching._HERE = Path({str(tmp_path / 'file')!r})\n"
        "assert caching.directory() is None\n"
        "from statespace.kernels import compiling\n"
        "kernel = compiling.kernel(lambda x: x + 1)\n"
        "assert kernel(1) == 2\n"
    )
    (tmp_path / "file").write_text("not a directory")
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "file")}
    env.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_other_versions_are_not_read_and_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each source has a directory of its own; of the others the three latest stay."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    for i in range(5):
        old = tmp_path / f"statespace-kernels-{i}"
        old.mkdir()
        os.utime(old, (i, i))
    found = caching.directory()
    assert found == tmp_path / f"statespace-kernels-{caching.STAMP}"
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {found.name, *(f"statespace-kernels-{i}" for i in (2, 3, 4))}


def test_a_long_first_call_is_announced_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A first call that takes long says what it does; a second one, and a quick one, do not."""
    monkeypatch.setattr(compiling, "_PATIENCE", 0.01)
    monkeypatch.setattr(compiling, "_seen", set())
    monkeypatch.setattr(compiling._say, "said", False)
    with caplog.at_level(logging.WARNING, "statespace"):
        compiling.announced("quick", lambda: None)
        assert not caplog.records
        for key in ("slow", "slow", "another"):
            compiling.announced(key, lambda: time.sleep(0.2))
    assert [record.message for record in caplog.records] == [compiling._TEXT]


def test_importing_compiles_and_loads_nothing() -> None:
    """`import statespace` and a first LDS do without numba."""
    script = (
        "import statespace as ss, sys\n"
        "ss.LDS(1, 1, seed=0)\n"
        "assert 'numba' not in sys.modules and 'llvmlite' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


FIRST = """
import sys, torch, statespace as ss
lds = ss.LDS(2, 3, seed=0)
y = torch.ones(30, 3, dtype=torch.float64)
with torch.no_grad():
    print(float(lds.log_likelihood(y)))
print(*sys.modules)
import numba
assert numba.njit(lambda x: [x, x + 1.0][1])(1.0) == 2.0
with torch.no_grad():
    print(float(lds.log_likelihood(y + 1.0)))
"""


def test_kept_loops_load_without_the_compiler(tmp_path: Path) -> None:
    """A second process gets the numbers of the first, and compiles nothing until it must."""
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    runs = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", FIRST], env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        value, modules, after = done.stdout.splitlines()
        runs.append((float(value), float(after), set(modules.split())))
    (value, after, compiling_), (again, after_again, loading) = runs
    assert (value, after) == (again, after_again)
    heavy = {"numba.typed.typedlist", "numba.np.linalg", "scipy.linalg"}
    assert "numba.typed.typedlist" in compiling_
    assert not heavy & loading
