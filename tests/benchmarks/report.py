"""The page that a run writes."""

from __future__ import annotations

import os
import platform
from importlib import metadata

import torch

from .libraries import Library

_PAGE = """# Benchmarks

Written by `make bench`, which makes an environment of its own, puts this library and its peers side
by side in it, and measures all of them in one run. Nothing on this page is edited by hand.

{environment}

A red mark (🔴) stands wherever this library is behind, or anyone's number is wrong.

## Accuracy

The distance from the exact answer: in nats for log-likelihoods, relative to the largest entry for
smoothed means and to each covariance's largest entry for smoothed covariances. Exact is the joint
Gaussian of all data, written out and conditioned in arithmetic with sixty digits (float64 for the
Nile), on the numbers as rounded to the precision of the problem. Red: above 1e-6 (1e-3 in float32),
NaN, or an exception.

Every library is given each of the settings listed below and the best result stands here; where its
default fails and another setting does not, both are shown. In brackets: what is not offered.

{accuracy}

- *Grewal-Andrews update*: P = I, C = [[1, 1, 1], [1, 1, 1 + e]], R = e² I, y = (1, 1), one row
  (Grewal and Andrews 2015, section 7.2). A covariance that is subtracted loses everything.
- *data times c*: y and the model in other units (n = m = 2, T = 10). The log-likelihood must move
  by log c for each entry.
- *prior 1e12*: n = 3, m = 2, T = 6, a proper and very wide prior beside small noise.
- *Nile*: local level, R = 15099, Q = 1469.1, a start without prior information. Who has no such
  start takes the limit log p(y) + log(w) / 2 with the best of several prior variances w.

## Optimum

The log-likelihood at which a fit with default settings ends, beside the best that statsmodels
finds for the same model (L-BFGS from its own start, then Powell's method, then Nelder-Mead, each
from the best point so far). Exact diffuse starts in both. Red: more than 1e-3 below.

{optimum}

## Speed

The time a peer takes divided by the time this library takes: **2 is twice as fast as the peer, 0.5
half as fast**. A row is red if any peer is faster.

All contestants of a row take turns in the same process, and the smallest time of each counts. Every
call starts from numpy data and ends with numbers; reading, checking and converting the data is
inside each call wherever a library does it there (statsmodels binds its data once, outside). A
library whose numbers differ from ours by more than 1e-6 (relative; 1e-5 for EM) is left out of the
row. Compilation and the making of the model are not counted, save in the fit.

What is measured here is the plain torch path that [Numerics](numerics.md) describes.

{speed}

## Settings

{settings}
"""


def page(**parts: str) -> str:
    """The whole page, from its tables, the settings and the environment."""
    return _PAGE.format(**parts)


def environment(libraries: list[Library], absent: dict[str, str]) -> str:
    """Versions, cores and threads; no paths and no absolute times."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    asked = os.environ.get("OMP_NUM_THREADS")
    threads = f"{torch.get_num_threads()} threads for torch" + (
        f", OMP_NUM_THREADS={asked}" if asked else ", the others as they choose"
    )
    common = ", ".join(f"{name} {metadata.version(name)}" for name in ("numpy", "scipy"))
    lines = [
        f"- {platform.system()} on {platform.machine()}, {cores} cores, {threads}",
        f"- Python {platform.python_version()}, {common}",
        *(f"- {library.versions}" for library in libraries),
        *(f"- left out: {name} ({why})" for name, why in absent.items()),
    ]
    return "\n".join(lines)


def settings(libraries: list[Library]) -> str:
    """What was tried with each library."""
    return "\n".join(f"- *{library.name}*: {library.settings}." for library in libraries)
