"""The bridge to Pyro: a model as a Pyro program, its guide, and an LDS as a distribution.

Pyro itself is loaded when one of these is first asked for.

Example:
    >>> import torch, pyro, statespace as ss
    >>> lds = ss.LDS(1, 1, seed=0)
    >>> y = ss.datasets.nile()
    >>> trace = pyro.poutine.trace(ss.pyro.model(lds)).get_trace(y[:3])
    >>> [name for name in trace.stochastic_nodes]
    ['z_1', 'z_2', 'z_3']
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from statespace.pyro.marginal import distribution
    from statespace.pyro.programs import guide, model

__all__ = ["distribution", "guide", "model"]

_HOME = {"distribution": "marginal", "guide": "programs", "model": "programs"}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"statespace.pyro.{_HOME[name]}"), name)
    raise AttributeError(f"module 'statespace.pyro' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
