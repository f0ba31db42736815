"""What of a linear dynamical system the data can know, whatever coordinates its state is in.

The likelihood does not change when the state is replaced by T z for any invertible T, so A, B, C
and Q of a fit mean nothing one by one. The functions here give what every such T leaves alone
(eigenvalues, Markov parameters, responses of y), one system to stand for all (`canonical_form`),
and the T between two fits (`align`).
"""

from __future__ import annotations

from statespace.models.lds.canonical.alignment import Alignment, align, observability_matrix
from statespace.models.lds.canonical.forms import CanonicalForm, canonical_form
from statespace.models.lds.canonical.methods import Identifiable
from statespace.models.lds.canonical.realisation import Realisation
from statespace.models.lds.canonical.responses import (
    eigenvalues,
    impulse_response,
    markov_parameters,
)

__all__ = [
    "Alignment",
    "CanonicalForm",
    "Identifiable",
    "Realisation",
    "align",
    "canonical_form",
    "eigenvalues",
    "impulse_response",
    "markov_parameters",
    "observability_matrix",
]
