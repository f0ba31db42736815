"""The record of a smoother, from the arrays of one call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from statespace.inference.kalman.problem import Problem
from statespace.inference.lineargaussian import Pass, Smooth, forward, smooth
from statespace.inference.lineargaussian.compiled import suits
from statespace.inference.lineargaussian.compiled_back import run_moments
from statespace.inference.lineargaussian.imputation import imputed_cov, imputed_mean
from statespace.inference.lineargaussian.likelihood import check_finite, total
from statespace.inference.lineargaussian.passes import Core
from statespace.inference.lineargaussian.simulate import posterior_draws
from statespace.interface import Kind
from statespace.results import Smoothed
from statespace.sequences import Index
from statespace.shapes import every

__all__ = ["Shown", "loops", "record", "run_forward", "smooth_moments"]


@dataclass(frozen=True)
class Shown:
    """What a record shows beside its numbers, and how much of them it keeps."""

    lengths: Tensor
    index: Index | None
    univariate: bool
    keep: str = "all"
    kind: Kind = "exact"
    y: Tensor | None = None  # observations as they came, where the core's are others
    emission: Problem | None = None  # how y hangs on z, where the core observes something else
    of_y: bool = True  # whether y has moments


def record(
    p: Problem,
    shown: Shown,
    constant: bool = True,
    core: Core = "auto",
    moments: tuple[Tensor, Smooth] | None = None,
) -> Smoothed:
    """The smoothed moments, joint draws, and what was not observed.

    Args:
        p: The arrays.
        shown: What the record shows beside them.
        constant: Whether log 2 pi is counted for what a diffuse start uses up.
        core: Which loops.
        moments: The log-likelihood and the moments, where they are known already.
    """
    with torch.no_grad():
        value, out = moments or smooth_moments(p, constant, shown.keep, core)
    k = p.skip
    whole = out.mean.movedim(0, -2)

    def draw(num: int, generator: Generator) -> Tensor:
        told = (p.system, p.begin, whole, p.parted.observed, p.active)
        with torch.no_grad():
            return posterior_draws(*told, num, generator, core)[..., k:, :]

    return Smoothed(
        mean=whole[..., k:, :],
        cov=out.cov[k:].movedim(0, -3),
        cross_cov=out.cross_cov[k:].movedim(0, -3),
        later=_of_y(p, out, whole, shown),
        log_likelihood=value,
        kind=shown.kind,
        lengths=shown.lengths,
        sampler=draw,
        index=shown.index,
        univariate=shown.univariate,
        repairs=out.clipped,
        keep=shown.keep,
    )


def loops(p: Problem, constant: bool, keep: str, core: Core) -> tuple[Tensor, Smooth] | None:
    """The log-likelihood and the smoothed moments, where compiled loops serve."""
    if not suits(p.system, p.y, core):
        return None
    return run_moments(
        p.system, p.begin, p.y, p.observed,
        diffuse_constant=constant, keep=keep, gaps=p.gaps, layout=p.layout,
    )  # fmt: skip


def smooth_moments(
    p: Problem, constant: bool = True, keep: str = "all", core: Core = "auto"
) -> tuple[Tensor, Smooth]:
    """The log-likelihood and the smoothed moments."""
    found = loops(p, constant, keep, core)
    if found is not None:
        return found
    run = run_forward(p, core)
    value, known = total(run, diffuse_constant=constant)
    return value, smooth(run, p.system, known, p.y.movedim(-2, 0))


def run_forward(p: Problem, core: Core = "plain") -> Pass:
    """The forward pass, checked."""
    run = forward(p.system, p.begin, p.y, p.observed, p.active, core=core)
    check_finite(run)
    return run


def _of_y(p: Problem, out: Smooth, mean: Tensor, shown: Shown) -> dict[str, Callable[[], Tensor]]:
    """Moments of y given all of it, when they are asked for."""
    if not shown.of_y:
        return {}
    p = p if shown.emission is None else shown.emission
    k = p.skip

    def y_mean() -> Tensor:
        found = imputed()
        return found if shown.y is None else torch.where(p.observed, shown.y, found)

    def imputed() -> Tensor:
        y, seen = p.parted.y, p.parted.observed
        if out.y_mean is not None:
            return out.y_mean[k:].movedim(0, -2)
        if every(seen):
            return y.expand(*mean.shape[:-1], y.shape[-1])[..., k:, :]
        with torch.no_grad():
            return imputed_mean(p.system, y, seen, mean)[..., k:, :]

    def y_cov() -> Tensor:
        y, seen = p.y, p.parted.observed
        m = y.shape[-1]
        if out.y_cov is not None:
            return out.y_cov[k:].movedim(0, -3)
        if every(seen):
            return y.new_zeros(m, m).expand(*mean.shape[:-1], m, m)[..., k:, :, :]
        with torch.no_grad():
            return imputed_cov(p.system, seen, out.cov.movedim(0, -3))[..., k:, :, :]

    return {"y_mean": y_mean} | ({} if shown.keep == "means" else {"y_cov": y_cov})
