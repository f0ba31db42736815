"""The parts of deep models: memories, heads, what a network reads, guides.

Each part is a Module that knows nothing of methods: a model puts them behind its three densities.
"""

from statespace.nn.encoders import DIRECTIONS, Encoder, encoder, reversed_rows
from statespace.nn.guides import NeuralGuide, encoder_features, neural_guide
from statespace.nn.heads import FAMILIES, Head, emission_head
from statespace.nn.layers import Dropout, mlp
from statespace.nn.paths import CELLS, Beside, Feedforward, Fused, Latest, LayerNormed, recurrent
from statespace.nn.posteriors import POSTERIORS, GaussianNet, Posterior, normal, posterior
from statespace.nn.readers import Numbers, Tokens, reader_of
from statespace.nn.transitions import GatedTransition

__all__ = [
    "CELLS",
    "DIRECTIONS",
    "FAMILIES",
    "POSTERIORS",
    "Beside",
    "Dropout",
    "Encoder",
    "Feedforward",
    "Fused",
    "GatedTransition",
    "GaussianNet",
    "Head",
    "Latest",
    "LayerNormed",
    "NeuralGuide",
    "Numbers",
    "Posterior",
    "Tokens",
    "emission_head",
    "encoder",
    "encoder_features",
    "mlp",
    "neural_guide",
    "normal",
    "posterior",
    "reader_of",
    "recurrent",
    "reversed_rows",
]
