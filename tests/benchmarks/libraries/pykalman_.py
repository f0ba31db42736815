"""pykalman: filters in numpy, one of them in UD and one in Cholesky form."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pykalman
from pykalman.sqrt import BiermanKalmanFilter, CholeskyKalmanFilter

from ..problems import Array, Problem
from .base import WIDTHS, Calls, Library, Moments, NotOffered, flat_start

_FILTERS = {
    "standard": pykalman.KalmanFilter,
    "Bierman": BiermanKalmanFilter,
    "Cholesky": CholeskyKalmanFilter,
}


class Pykalman(Library):
    name, package = "pykalman", "pykalman"
    settings = (
        "the standard, the Bierman (UD) and the Cholesky filter; a flat start as a prior variance "
        "of 1e6, 1e8, 1e10 or 1e12; whole rows masked where rows are missing"
    )

    def log_likelihood(self, p: Problem) -> Calls:
        if p.diffuse:
            return {
                f"{name}, prior {w:g}": partial(flat_start, partial(_value, name), p, w)
                for name in _FILTERS
                for w in WIDTHS
            }
        return {
            name: partial(_run, "loglikelihood", _model(name, p), _data(p)) for name in _FILTERS
        }

    def smooth(self, p: Problem) -> Calls:
        if p.diffuse:
            raise NotOffered("no diffuse start")
        return {name: partial(_smooth, _model(name, p), _data(p)) for name in _FILTERS}


def _data(p: Problem) -> Array:
    if p.y.ndim > 2:
        raise NotOffered("no panels")
    if p.partial_rows:
        raise NotOffered("drops the whole row where an entry is missing")
    y = p.y
    if len(y) == 1 < p.m:  # it would take one row of m entries for m rows of one
        y = np.concatenate([y, np.full_like(y, np.nan)])
    return np.ma.masked_invalid(y) if np.isnan(y).any() else y


def _model(name: str, p: Problem) -> Any:
    if p.dtype != np.float64:
        raise NotOffered("float64 only")
    return _FILTERS[name](
        transition_matrices=p.A,
        observation_matrices=p.C,
        transition_covariance=p.Q,
        observation_covariance=p.R,
        initial_state_mean=p.m1,
        initial_state_covariance=p.P1,
    )


def _run(verb: str, model: Any, y: Array) -> float:
    return float(getattr(model, verb)(y))


def _value(name: str, p: Problem) -> float:
    return _run("loglikelihood", _model(name, p), _data(p))


def _smooth(model: Any, y: Array) -> Moments:
    return Moments(*model.smooth(y))
