"""Compiled loops of the linear-Gaussian core; importing this loads no compiler.

Series stand side by side as lanes of a vector (`lanes`), covariances are kept as U D U' (`factor`),
and the backward recursion r_t, N_t gives smoothing and the score (`backward`, `smooth`). Models
that are activations of affine maps are linearised on the way (`network_rows`, `network_back`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from statespace.kernels.loading import uncollected
from statespace.kernels.tables import (
    CODES,
    Data,
    Ends,
    Filter,
    Model,
    Points,
    Rows,
    Score,
    Second,
    Shared,
    Smooth,
)

if TYPE_CHECKING:
    from statespace.kernels.compiling import announced, quick, spread
    from statespace.kernels.filtering import filter_means, filter_shared
    from statespace.kernels.forward import filter_each
    from statespace.kernels.lanes import Lanes
    from statespace.kernels.network_filter import filter_network, filter_points
    from statespace.kernels.network_score import score_network
    from statespace.kernels.network_smooth import smooth_network
    from statespace.kernels.settled_back import settle_back
    from statespace.kernels.shared_back import means_back
    from statespace.kernels.shared_covs import settle
    from statespace.kernels.shared_means import means
    from statespace.kernels.simulate import simulate_each
    from statespace.kernels.smooth import smooth_each

__all__ = [
    "CODES",
    "Data",
    "Ends",
    "Filter",
    "Lanes",
    "Model",
    "Points",
    "Rows",
    "Score",
    "Second",
    "Shared",
    "Smooth",
    "announced",
    "filter_each",
    "filter_means",
    "filter_network",
    "filter_points",
    "filter_shared",
    "means",
    "means_back",
    "quick",
    "score_network",
    "settle",
    "settle_back",
    "simulate_each",
    "smooth_each",
    "smooth_network",
    "spread",
]

_NAMES = {  # where each name lives; imported, and numba with it, when it is first asked for
    "Lanes": "lanes",
    "announced": "compiling",
    "filter_each": "forward",
    "filter_means": "filtering",
    "filter_network": "network_filter",
    "filter_points": "network_filter",
    "filter_shared": "filtering",
    "means": "shared_means",
    "means_back": "shared_back",
    "quick": "compiling",
    "score_network": "network_score",
    "settle": "shared_covs",
    "settle_back": "settled_back",
    "simulate_each": "simulate",
    "smooth_each": "smooth",
    "smooth_network": "network_smooth",
    "spread": "compiling",
}


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with uncollected():
        found = getattr(import_module(f"{__name__}.{_NAMES[name]}"), name)
    globals()[name] = found
    return found
