"""What a process pays before its first number: imports, loading, and once a machine, compiling.

Every row is measured in processes of its own: one with nothing kept on disk, then several that find
what it left, of which the quickest counts.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from .table import RED, table

_ROOT = Path(__file__).parents[2]
_WARM = 3  # processes that load what is kept
_IMPORT, _CALL = 0.5, 0.3  # seconds that importing and a warm first call may take

_IMPORTING = """
import time, torch
begin = time.perf_counter()
import statespace as ss
[getattr(ss, name) for name in ss.__all__]
print(time.perf_counter() - begin)
"""
_CALLING = """
import time, torch, statespace as ss
lds = ss.LDS(2, 3, R=ss.Param(torch.eye(3), structure="diag"), seed=0)
one = torch.randn(100, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
panel, gaps = one.expand(20, 100, 3).clone(), one.expand(20, 100, 3).clone()
gaps[:, ::10, 0] = torch.nan
[getattr(ss, name) for name in ss.__all__]
begin = time.perf_counter()
CALL
print(time.perf_counter() - begin)
"""
_CALLS = {
    "log-likelihood, one short series": "with torch.no_grad(): lds.log_likelihood(one)",
    "log-likelihood, a panel": "with torch.no_grad(): lds.log_likelihood(panel)",
    "log-likelihood, a panel with gaps": "with torch.no_grad(): lds.log_likelihood(gaps)",
    "gradient, one short series": "lds.log_likelihood(one).backward()",
    "gradient, a panel": "lds.log_likelihood(panel).sum().backward()",
    "smoother, one short series": "lds.smooth(one)",
    "smoother, a panel": "lds.smooth(panel)",
    "smoother, a panel with gaps": "lds.smooth(gaps)",
    "filter, a panel": "lds.filter(panel)",
    "filter, a panel with gaps": "lds.filter(gaps)",
    "joint draws, one short series": "lds.smooth(one).sample(3, seed=0)",
}


def run(say: Callable[[str], None], *, tiny: bool = False) -> str:
    """The table; `tiny` leaves out all calls but the first."""
    say("first call: imports")
    rows = [
        ["`import statespace`, beyond torch, and every name", "", _seconds(_imports(), _IMPORT)]
    ]
    for name in list(_CALLS)[: 1 if tiny else None]:
        say(f"first call: {name}")
        with tempfile.TemporaryDirectory() as kept:
            script = _CALLING.replace("CALL", _CALLS[name])
            cold = _run(script, kept)
            warm = min(_run(script, kept) for _ in range(_WARM))
        rows.append([name, f"{cold:.1f}", _seconds(warm, _CALL)])
    return table(["", "nothing kept, s", "kept on disk, s"], rows)


def _imports() -> float:
    with tempfile.TemporaryDirectory() as kept:
        return min(_run(_IMPORTING, kept) for _ in range(_WARM + 1))


def _seconds(value: float, bound: float) -> str:
    text = f"{value:.2f}"
    return text if value <= bound else f"{RED} {text}"


def _run(script: str, kept: str) -> float:
    """The seconds that a fresh process prints."""
    paths = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        env={**os.environ, "NUMBA_CACHE_DIR": kept, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.splitlines()[-1])
