"""What verbs give back: frozen records of plain tensors.

Every field has the shape (*batch, T, ...), with NaN beyond the length of each series and `lengths`
beside it. Iterating a record gives one record per series, without padding; `to_frame()` restores
the index, the names and the ids that the data came with. Where the data had no feature axis the
fields that speak of y have none either.
"""

from statespace.results.filtered import Filtered
from statespace.results.fit import FitResult, StandardErrors
from statespace.results.forecast import Forecast
from statespace.results.keeping import keeping, read_keep
from statespace.results.record import KINDS
from statespace.results.score import Score
from statespace.results.smoothed import Smoothed
from statespace.results.training import TrainingRecord
from statespace.results.trajectory import Trajectory

__all__ = [
    "KINDS",
    "Filtered",
    "FitResult",
    "Forecast",
    "Score",
    "Smoothed",
    "StandardErrors",
    "TrainingRecord",
    "Trajectory",
    "keeping",
    "read_keep",
]
