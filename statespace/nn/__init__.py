"""The parts of deep models: memories, heads, what a network reads, guides.

Each part is a Module that knows nothing of methods: a model puts them behind its three densities.
"""

from statespace.nn.heads import FAMILIES, Head, emission_head
from statespace.nn.layers import mlp
from statespace.nn.paths import CELLS, Feedforward, Fused, LayerNormed, recurrent
from statespace.nn.readers import Numbers, Tokens, reader_of

__all__ = [
    "CELLS",
    "FAMILIES",
    "Feedforward",
    "Fused",
    "Head",
    "LayerNormed",
    "Numbers",
    "Tokens",
    "emission_head",
    "mlp",
    "reader_of",
    "recurrent",
]
