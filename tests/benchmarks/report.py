"""The page that a run writes."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

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
half as fast**. "At least" is the ratio that is aimed at, and the peer it is aimed at; where it is
missed the row says so. A row is red, too, if any peer is faster.

All contestants of a row take turns in the same process, garbage collection off, and the smallest
time of each counts; who is thirty times slower than another gets one turn. For this library a call
is a public verb, from numpy data to numbers: reading, checking and converting the data, and making
the record, are inside. Peers are given their data in their own form beforehand, and are compiled
before the clock starts. Answers are compared first: who differs from ours by more than 1e-8
(relative to the largest entry; 1e-6 for dynamax, which adds 1e-9 to what it solves with, for
gradients and for the fit) is left out of the row. An iteration of EM is an E-step and an M-step in
all parameters: the time between two reports of `fit`.

{speed}

## The first call

Seconds, in processes of their own: the first call of a verb where nothing is kept on disk, so that
its loops are compiled, and in a later process that finds them. Loading numba is inside, importing
torch and this library is not. Red: more than 0.5 s for the import, more than 0.3 s for a call with
everything kept.

{first}

## Where the time of a fit goes

Shares of one `fit` with its defaults, from data to result: reading the data, start values, E-steps,
M-steps, and the polish by the exact gradient. "Steps" are iterations of EM and of polish together;
where few numbers are learned, or an M-step has no closed form, polish makes them all.

{profile}

## Fit beside fit

EM from the same start without polish: each library in a process of its own, what has to be compiled
or loaded on the way included (imports are not; this library's loops are cached on disk from its
first use on, JAX caches none unless told). The other models: both from their own start with their
own defaults (the peer with more iterations), until they stop, making the model included; red, too,
where the optimum found is more than 1e-3 lower. The peer's cycle has a flat start, ours a
stationary one.

{fits}

## Deep models

The time of the peer divided by the time of this library. The deep Markov model has the sizes of
Pyro's tutorial (z 100, transition 200, emission 100 twice, a ReLU network of 600 units that reads a
series backwards, batches of 20) and is trained in single precision. An epoch is one pass over all
series, the second one from random weights; for this library it is the time between two reports of
one `fit`. The series are as long as the 229 chorales of the tutorial, their notes are random. The
guide here also reads which entries are missing; the peer is the quicker one of its settings.

{deep}

## Grid

Complete data, full Q and R, a known start; the best peer of dynamax (sequential and information
filter) and statsmodels (conventional and univariate). Ratios as above, **bold and red where this
library is slower by more than 1.5**. A peer that is three times slower than another on one series
times their number, or whose records of all series take more than 4 GB, is not timed further. Left
out: cells whose data and smoothed moments take more than 1 GB. The grid is long, and is not
measured with every page.

{grid}

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
        f"- {platform.system()} on {platform.machine()} ({_processor()}), {cores} cores, {threads}",
        f"- Python {platform.python_version()}, {common}",
        *(f"- {library.versions}" for library in libraries),
        *(f"- left out: {name} ({why})" for name, why in absent.items()),
    ]
    return "\n".join(lines)


def _processor() -> str:
    """What the system calls its processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "processor unknown"


def settings(libraries: list[Library]) -> str:
    """What was tried with each library."""
    return "\n".join(f"- *{library.name}*: {library.settings}." for library in libraries)
