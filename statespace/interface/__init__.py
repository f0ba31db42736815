"""The contract: what a model says, what a method is given, and the verbs between them."""

from statespace.interface.families import (
    Amortised,
    Autoregressive,
    Channel,
    Climbable,
    FiniteLatent,
    GaussianLatent,
    Given,
    LinearGaussian,
    Maximisable,
    Network,
    SwitchingGaussian,
)
from statespace.interface.fitting import unchanged_on_failure
from statespace.interface.guides import Guide
from statespace.interface.methods import Filter, Learner, Method, able
from statespace.interface.model import StateSpaceModel
from statespace.interface.paths import NoPath, Path
from statespace.interface.randomness import lend, seeded
from statespace.interface.regularising import climbing, is_climbing
from statespace.interface.values import (
    Context,
    Finite,
    Info,
    Kind,
    Real,
    Row,
    Space,
    State,
    Switching,
)

__all__ = [
    "Amortised",
    "Autoregressive",
    "Channel",
    "Climbable",
    "Context",
    "Filter",
    "Finite",
    "FiniteLatent",
    "GaussianLatent",
    "Given",
    "Guide",
    "Info",
    "Kind",
    "Learner",
    "LinearGaussian",
    "Maximisable",
    "Method",
    "Network",
    "NoPath",
    "Path",
    "Real",
    "Row",
    "Space",
    "State",
    "StateSpaceModel",
    "Switching",
    "SwitchingGaussian",
    "able",
    "climbing",
    "is_climbing",
    "lend",
    "seeded",
    "unchanged_on_failure",
]
