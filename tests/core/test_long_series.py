"""A long series needs no memory beyond itself where no gradient is wanted."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import resource, torch, statespace as ss

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

A, I = [[1.0, 1.0], [0.0, 0.9]], torch.eye(2)
lds = ss.LDS(2, 2, A=A, C=I, Q=I, R=I, START)
g = torch.Generator().manual_seed(0)
y = torch.randn(1_000_000, 2, generator=g, dtype=torch.float64)
GAPS
with torch.no_grad():
    lds.log_likelihood(y[:1000])
    before = peak()
    value = float(lds.log_likelihood(y))
assert value < 0
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is counted in other units here")
@pytest.mark.parametrize("start", ["seed=0", "initial='diffuse'"])
@pytest.mark.parametrize("gaps", ["", "y[::10] = torch.nan"], ids=["complete", "gaps"])
def test_a_million_rows_in_fifty_megabytes(start: str, gaps: str) -> None:
    """Peak memory of the process, against the peak after a short call."""
    script = SCRIPT.replace("START", start).replace("GAPS", gaps)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 50
