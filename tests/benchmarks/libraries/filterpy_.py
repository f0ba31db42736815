"""filterpy: one step at a time, for tracking."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from filterpy.kalman import KalmanFilter

from ..problems import Array, Problem
from .base import WIDTHS, Calls, Library, Moments, NotOffered, flat_start

_INVERSES = {"inv": np.linalg.inv, "pinv": np.linalg.pinv}


class Filterpy(Library):
    name, package = "filterpy", "filterpy"
    settings = (
        "KalmanFilter (Joseph form) with inv and with pinv; its SquareRootKalmanFilter gives no "
        "log-likelihood; a flat start as a prior variance of 1e6, 1e8, 1e10 or 1e12; smoothing by "
        "batch_filter and rts_smoother"
    )

    def log_likelihood(self, p: Problem) -> Calls:
        _check(p)
        if p.diffuse:
            return {
                f"{name}, prior {w:g}": partial(flat_start, partial(_value, inv), p, w)
                for name, inv in _INVERSES.items()
                for w in WIDTHS
            }
        return {name: partial(_value, inv, p) for name, inv in _INVERSES.items()}

    def smooth(self, p: Problem) -> Calls:
        _check(p)
        if p.diffuse:
            raise NotOffered("no diffuse start")
        return {name: partial(_smooth, inv, p) for name, inv in _INVERSES.items()}


def _check(p: Problem) -> None:
    if p.y.ndim > 2:
        raise NotOffered("no panels")
    if p.partial_rows:
        raise NotOffered("whole missing rows only")
    if p.dtype != np.float64:
        raise NotOffered("float64 only")


def _model(inverse: Any, p: Problem) -> KalmanFilter:
    # The belief lives inside the object, so each call begins with a new one.
    kf = KalmanFilter(dim_x=p.n, dim_z=p.m)
    kf.F, kf.Q, kf.H, kf.R = p.A, p.Q, p.C, p.R
    kf.x, kf.P = p.m1[:, None].copy(), p.P1.copy()
    kf.inv = inverse
    return kf


def _rows(y: Array) -> list[Array | None]:
    return [None if np.isnan(row).all() else row[:, None] for row in y]


def _value(inverse: Any, p: Problem) -> float:
    kf, total = _model(inverse, p), 0.0
    for t, row in enumerate(_rows(p.y)):
        if t:
            kf.predict()
        kf.update(row)
        if row is not None:
            total += kf.log_likelihood
    return float(total)


def _smooth(inverse: Any, p: Problem) -> Moments:
    kf = _model(inverse, p)
    mean, cov, _, _ = kf.batch_filter(_rows(p.y), update_first=True)
    mean, cov, _, _ = kf.rts_smoother(mean, cov, inv=inverse)
    return Moments(mean[..., 0], cov)
