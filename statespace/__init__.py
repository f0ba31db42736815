"""State-space models of time series: one set of verbs from the Kalman filter onwards.

>>> import statespace as ss
>>> y = ss.datasets.nile()
>>> lds = ss.LDS(latent_dim=1, obs_dim=1)
>>> fit = lds.fit(y[:80], seed=0)
>>> fc = lds.forecast(y[:80], horizon=20)
>>> fc.mean.shape
torch.Size([20, 1])
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from statespace import datasets, diagnostics, errors, plot, pyro
    from statespace.check import check_model, citation
    from statespace.comparison import compare
    from statespace.inference import (
        FIVO,
        CubatureKalman,
        ExtendedKalman,
        GaussHermiteKalman,
        ImportanceWeighted,
        Kalman,
        Laplace,
        ParticleFilter,
        PosteriorLinearisation,
        TeacherForcing,
        UnscentedKalman,
        Variational,
        Warmup,
    )
    from statespace.interface import StateSpaceModel
    from statespace.learning import EM, Gradient
    from statespace.models import (
        LDS,
        SRNN,
        VRNN,
        AutoregressiveRNN,
        DeepKalmanFilter,
        Guided,
        LSTMStateSpace,
        NoisyRNN,
        NonlinearGaussian,
    )
    from statespace.parameters import Fixed, Param, Varying
    from statespace.results import Filtered, FitResult, Forecast, Score, Smoothed, Trajectory
    from statespace.storage import load

__version__ = "0.1.0"

__all__ = [
    "EM",
    "FIVO",
    "LDS",
    "SRNN",
    "VRNN",
    "AutoregressiveRNN",
    "CubatureKalman",
    "DeepKalmanFilter",
    "ExtendedKalman",
    "Filtered",
    "FitResult",
    "Fixed",
    "Forecast",
    "GaussHermiteKalman",
    "Gradient",
    "Guided",
    "ImportanceWeighted",
    "Kalman",
    "LSTMStateSpace",
    "Laplace",
    "NoisyRNN",
    "NonlinearGaussian",
    "Param",
    "ParticleFilter",
    "PosteriorLinearisation",
    "Score",
    "Smoothed",
    "StateSpaceModel",
    "TeacherForcing",
    "Trajectory",
    "UnscentedKalman",
    "Variational",
    "Varying",
    "Warmup",
    "check_model",
    "citation",
    "compare",
    "datasets",
    "diagnostics",
    "errors",
    "load",
    "plot",
    "pyro",
]

_NAMES = {  # where each name lives; imported when it is first asked for
    "check": ("check_model", "citation"),
    "comparison": ("compare",),
    "inference": (
        "FIVO",
        "CubatureKalman",
        "ExtendedKalman",
        "GaussHermiteKalman",
        "ImportanceWeighted",
        "Kalman",
        "Laplace",
        "ParticleFilter",
        "PosteriorLinearisation",
        "TeacherForcing",
        "UnscentedKalman",
        "Variational",
        "Warmup",
    ),
    "interface": ("StateSpaceModel",),
    "learning": ("EM", "Gradient"),
    "models": (
        "LDS",
        "SRNN",
        "VRNN",
        "AutoregressiveRNN",
        "DeepKalmanFilter",
        "Guided",
        "LSTMStateSpace",
        "NoisyRNN",
        "NonlinearGaussian",
    ),
    "parameters": ("Fixed", "Param", "Varying"),
    "results": ("Filtered", "FitResult", "Forecast", "Score", "Smoothed", "Trajectory"),
    "storage": ("load",),
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}
_MODULES = ("datasets", "diagnostics", "errors", "plot", "pyro")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"statespace.{name}")
    if name in _HOME:
        value = getattr(import_module(f"statespace.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'statespace' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
