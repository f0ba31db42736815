"""Bounds of amortised models: variational, importance weighted, and by particles."""

from statespace.inference.variational.fivo import FIVO
from statespace.inference.variational.methods import ImportanceWeighted, Variational, Warmup

__all__ = ["FIVO", "ImportanceWeighted", "Variational", "Warmup"]
