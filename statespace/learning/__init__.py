"""Learners: they change the parameters of a model, and know it by the contract alone."""

from statespace.learning.em import EM
from statespace.learning.gradient import Gradient

__all__ = ["EM", "Gradient"]
