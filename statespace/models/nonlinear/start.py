"""Start values of covariances and moments that were left out."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from statespace.errors import InputError, NumericalError
from statespace.inference import ExtendedKalman
from statespace.models.shared.unknowable import hold_start
from statespace.sequences import Sequences

if TYPE_CHECKING:
    from statespace.models.nonlinear.model import NonlinearGaussian

__all__ = ["random_values", "start_values"]

_STATE = (1e-6, 1e-4, 1e-2, 1.0, 1e2)  # variances of w that are tried: g and f say the units of z
_SHARES = (0.5, 0.05, 0.005)  # of the variance of y, for R
_FIRST = 10.0  # times Q is the covariance of z_1
_ROWS = 200  # of each series, for the likelihoods that choose


def random_values(model: NonlinearGaussian, generator: Generator) -> None:
    """Draws what has no value yet: covariances near the identity, a standard normal mean."""
    for name in map(str, model.slots):
        slot = model.slot(name)
        if slot.is_set:
            continue
        draw = torch.randn(slot.event, dtype=torch.float64, generator=generator)
        if draw.dim() == 2:
            root = torch.eye(len(draw), dtype=torch.float64) + 0.1 * draw
            draw = root @ root.mT
        slot.set_(draw)


def start_values(model: NonlinearGaussian, data: Sequences, generator: Generator) -> None:
    """Sets what has no value yet: the likeliest of a few sizes, by the extended Kalman filter.

    R is a share of the variance of each column; Q is a multiple of the identity; z_1 is zero in
    the mean and spread ten times as wide as w.
    """
    unset = [name for name, slot in model._slots() if not slot.is_set]
    if unset:
        with torch.no_grad():
            _likeliest(model, unset, data, generator)
    hold_start(model, data)


def _likeliest(
    model: NonlinearGaussian, unset: list[str], data: Sequences, generator: Generator
) -> None:
    spread = _variance(data)
    eye = torch.eye(model.latent_dim, dtype=torch.float64, device=spread.device)
    short = data.rows(0, min(data.T, _ROWS))
    wide = {"Q", "initial_cov"} & set(unset)
    best, highest = None, -math.inf
    for q, share in itertools.product(_STATE if wide else (1.0,), _SHARES):
        values = {
            "Q": q * eye,
            "R": torch.diag(share * spread),
            "initial_mean": eye.new_zeros(model.latent_dim),
            "initial_cov": _FIRST * _size(model, unset, q) * eye,
        }
        for name in unset:
            model.slot(name).set_(values[name])
        value = _value(model, short, generator)
        if best is None or value > highest:
            best, highest = {name: values[name] for name in unset}, value
    for name, value_ in (best or {}).items():
        model.slot(name).set_(value_)


def _size(model: NonlinearGaussian, unset: list[str], q: float) -> float:
    """Of a Q that is given, else the one that is tried."""
    if "Q" in unset or "Q" not in model.slots:
        return q
    given = (
        float(model.slot("Q").value().detach().diagonal(dim1=-2, dim2=-1).mean())
        if model.latent_dim
        else q
    )
    return given if given > 0 else q


def _variance(data: Sequences) -> Tensor:
    """Of each column of y, (m,); one where it does not move."""
    y, on = data.values.double(), data.observed
    count = on.flatten(0, -2).sum(0).clamp_min(1)
    mean = torch.where(on, y, 0.0).flatten(0, -2).sum(0) / count
    found = torch.where(on, (y - mean).square(), 0.0).flatten(0, -2).sum(0) / count
    return torch.where(found > 0, found, torch.ones_like(found))


def _value(model: NonlinearGaussian, data: Sequences, generator: Generator) -> float:
    try:
        value = ExtendedKalman().log_likelihood(model, data, generator).double().sum()
    except (InputError, NumericalError):
        return -math.inf
    return float(value) if math.isfinite(float(value)) else -math.inf
