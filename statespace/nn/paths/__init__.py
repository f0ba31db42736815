"""Memories: recurrent cells and their scans, and one without recurrence."""

from statespace.nn.paths.beside import Beside
from statespace.nn.paths.choice import CELLS, recurrent
from statespace.nn.paths.feedforward import Feedforward
from statespace.nn.paths.fused import Fused
from statespace.nn.paths.latest import Latest
from statespace.nn.paths.normalised import LayerNormed

__all__ = ["CELLS", "Beside", "Feedforward", "Fused", "Latest", "LayerNormed", "recurrent"]
