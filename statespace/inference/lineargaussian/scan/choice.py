"""When a scan is chosen that nobody asked for."""

from __future__ import annotations

import math

from statespace.inference.lineargaussian.passes import Plan

__all__ = ["pays"]

_ROWS = 256  # a scan takes 2 log2(T) rounds of several kernels, where the loop takes T rows
_SERIES = 64  # covariance recursions that differ; more of them fill the device row by row


def pays(plan: Plan) -> bool:
    """On a GPU: long time, few covariance recursions. On the CPU never."""
    if plan.y.device.type != "cuda":
        return False
    return plan.y.shape[0] >= _ROWS and math.prod(plan.c) <= _SERIES
