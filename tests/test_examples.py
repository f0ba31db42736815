"""The examples run, and assert their numbers themselves."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_stochastic_volatility(tmp_path) -> None:
    """In a process of its own, without a figure."""
    example = ROOT / "examples" / "stochastic_volatility.py"
    run = [sys.executable, str(example)]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "log-likelihood" in done.stdout
    assert not list(tmp_path.iterdir())
