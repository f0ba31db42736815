"""The M-step of a noisy network: what has a closed form given the rest.

    moments of z_1      the smoothed ones, averaged over series
    C, D, d, then R     a linear regression, where y is Gaussian and f the identity
    R                   E[v v'] given C, D, d, where f bends the mean of a Gaussian y
    Q                   E[w w'] given A, W, b

A, W and b stand inside g, and every other family inside its density: these are climbed, by the
expected log joint. What varies in time stays.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from statespace.models.lds.mstep import posterior_of, readout_moments, update
from statespace.models.shared.expectation import over_time, points_of, set_q, set_r, set_start
from statespace.results import Smoothed
from statespace.sequences import Sequences

__all__ = ["maximise_given_rest"]


@torch.no_grad()
def maximise_given_rest(rnn: Any, smoothed: Smoothed, data: Sequences) -> list[Tensor]:
    """Sets them; returns the parameters that are not to be climbed."""
    posterior = posterior_of(smoothed, data)
    points, done = points_of(posterior, rnn.dtype), ["Q", "initial_mean", "initial_cov"]
    set_start(rnn, posterior)
    set_q(rnn, points, data)
    if rnn.head.name == "gaussian":
        done.append("R")
        slots = [rnn.slot(name) for name in ("C", "D", "d")]
        alike = len({slot.batch_shape for slot in slots if slot.n_free}) <= 1
        if rnn.output_activation.name == "identity" and alike:
            read, inputs = rnn.readout(over_time(data)), data.inputs.double()
            moments = readout_moments(read, posterior, data, inputs, rnn.batch_shape)
            update(slots, rnn.slot("R"), moments)
            done += ["C", "D", "d"]
        else:
            set_r(rnn, points, data)
    return [
        slot.theta
        for name, slot in rnn._slots()
        if slot.theta is not None and (name in done or slot.varies)
    ]
