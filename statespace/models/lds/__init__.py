"""The linear dynamical system: `LDS`, its parts, its sums, its start values and its M-step."""

from statespace.models.lds.model import LDS

__all__ = ["LDS"]
