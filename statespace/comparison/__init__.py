"""`compare`: models side by side on held-out data, numbers of one kind with their like."""

from statespace.comparison.paired import Difference
from statespace.comparison.scoring import compare
from statespace.comparison.table import Comparison, Entry

__all__ = ["Comparison", "Difference", "Entry", "compare"]
