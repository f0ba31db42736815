"""The examples run, and their own assertions about their numbers hold."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
ALONE = [  # need no data beyond the package's
    pytest.param("approximations.py", marks=pytest.mark.slow),
    "bearings.py",
    "counts.py",
    pytest.param("nuts.py", marks=pytest.mark.slow),
    pytest.param("pendulum.py", marks=pytest.mark.slow),
    "stochastic_volatility.py",
]


@pytest.mark.parametrize("name", ALONE)
def test_runs(name, tmp_path):
    """In a process of its own, in an empty folder, which stays empty."""
    path = os.pathsep.join([str(EXAMPLES.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert not list(tmp_path.iterdir())
