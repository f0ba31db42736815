"""Models: names that someone would say."""

from statespace.models.lds import LDS

__all__ = ["LDS"]
