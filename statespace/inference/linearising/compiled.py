"""Where compiled loops answer first: models that say they are activations of affine maps.

Each function is asked before the generic loop, with the network of the model over the rows of the
task, and must give what that loop gives (held equal by a test) or None: the generic loop.
"""

from __future__ import annotations

from torch import Tensor

from statespace.inference.linearising.loop import Linearised, Passed, Plan
from statespace.inference.linearising.task import Task
from statespace.interface import Network

__all__ = ["log_likelihood", "moments", "rows"]


def log_likelihood(net: Network, plan: Plan, task: Task) -> Tensor | None:
    """The sum of the increments, (*batch,), differentiable in every array of the network."""
    return None


def moments(net: Network, plan: Plan, task: Task) -> Passed | None:
    """Filtered and predicted moments; without a graph."""
    return None


def rows(net: Network, plan: Plan, task: Task) -> Linearised | None:
    """The linearised rows, for the smoother; without a graph."""
    return None
