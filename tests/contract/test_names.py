"""The public names: what `import statespace` offers, with the arguments, in the order, it promises.

A name or an argument that goes, or changes its default, turns this red: that is a change for every
caller, and wants a reason.
"""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch

import statespace as ss

DEEP = (
    "family='gaussian' transition_dim=None emission_dim=None posterior_dim=None activation='tanh' "
    "encoder_dim=None encoder_layers=1 encoder_activation='tanh' dropout=0.0 num_categories=None "
    "num_components=None embedding_dim=None min_scale=0.001 standardise=True dtype=torch.float32 "
    "seed=None"
)

SIGNATURES: dict[str, tuple[Any, str]] = {
    "fit": (
        ss.LDS.fit,
        "y inputs=None * mask=None validation=None method=None learner=None seed=None "
        "progress=None condition=None lengths=None",
    ),
    "forecast": (
        ss.LDS.forecast,
        "y=None * horizon inputs=None mask=None state=None num_samples=None method=None seed=None "
        "condition=None lengths=None",
    ),
    "sample": (
        ss.LDS.sample, "num_steps sample_shape=() inputs=None * state=None seed=None condition=None"
    ),
    "start": (ss.LDS.start, "batch_shape=() * condition=None method=None seed=None"),
    "step": (ss.LDS.step, "state y_t u_t=None * mask=None"),
    "log_joint": (
        ss.LDS.log_joint, "z y inputs=None * mask=None condition=None lengths=None"
    ),
    "load": (ss.load, "path **functions"),
    "compare": (
        ss.compare, "models train test * inputs=None test_inputs=None continues=True horizon=1"
    ),
    "EM": (ss.EM, "max_iter=200 tol=1e-06 restarts=0 polish=True"),
    "Param": (ss.Param, "value=None structure='full' free=None labels=None prior=None"),
    "LDS": (
        ss.LDS,
        "latent_dim obs_dim input_dim=0 * A=None B=None b=None C=None D=None d=None Q=None R=None "
        "initial_mean=None initial_cov=None initial=None diffuse_constant=True "
        "dtype=torch.float64 seed=None",
    ),
    "NoisyRNN": (
        ss.NoisyRNN,
        "latent_dim obs_dim input_dim=0 * activation='tanh' output_activation='identity' "
        "family='gaussian' A=None W=None b=None C=None D=None d=None Q=None R=None "
        "initial_mean=None initial_cov=None initial=None num_categories=None df=None "
        "dtype=torch.float64 seed=None",
    ),
    "NonlinearGaussian": (
        ss.NonlinearGaussian,
        "latent_dim obs_dim input_dim=0 * g f Q=None R=None initial_mean=None initial_cov=None "
        "initial=None residual=None dtype=torch.float64 seed=None",
    ),
    "AutoregressiveRNN": (
        ss.AutoregressiveRNN,
        "obs_dim input_dim=0 * hidden_dim layers=1 cell='gru' family='gaussian' feedback='both' "
        "num_categories=None num_components=None embedding_dim=None condition_dim=0 "
        "layer_norm=False min_scale=0.001 standardise=True dtype=torch.float32 seed=None",
    ),
    "VRNN": (
        ss.VRNN,
        "latent_dim obs_dim input_dim=0 * hidden_dim cell='gru' layers=1 condition_dim=0 "
        "encoder='pointwise' encoder_cell=None posterior='mlp' " + DEEP,
    ),
    "SRNN": (
        ss.SRNN,
        "latent_dim obs_dim input_dim=0 * hidden_dim cell='gru' layers=1 condition_dim=0 "
        "encoder='anticausal' encoder_cell=None posterior='residual' " + DEEP,
    ),
    "LSTMStateSpace": (
        ss.LSTMStateSpace,
        "latent_dim obs_dim input_dim=0 * hidden_dim layers=1 condition_dim=0 encoder='causal' "
        "encoder_cell='lstm' posterior='mlp' " + DEEP,
    ),
    "DeepKalmanFilter": (
        ss.DeepKalmanFilter,
        "latent_dim obs_dim input_dim=0 * hidden_dim autoregressive=False encoder='anticausal' "
        "encoder_cell='gru' posterior='combiner' " + DEEP,
    ),
    "Guided": (
        ss.Guided,
        "model guide=None * hidden_dim=None encoder='both' posterior='product' cell='gru' "
        "seed=None",
    ),
    "Variational": (
        ss.Variational, "num_samples=1 * kl='analytic' beta=1.0 free_bits=0.0 balance=None"
    ),
    "ImportanceWeighted": (ss.ImportanceWeighted, "num_samples=64"),
    "FIVO": (ss.FIVO, "num_particles=64 resampling='systematic' threshold=0.5"),
    "TeacherForcing": (ss.TeacherForcing, "num_particles=500"),
    "local_level": (ss.LDS.local_level, ""),
    "local_trend": (ss.LDS.local_trend, ""),
    "seasonal": (ss.LDS.seasonal, "period"),
    "cycle": (ss.LDS.cycle, ""),
    "arma": (ss.LDS.arma, "p q=0"),
    "regression": (ss.LDS.regression, ""),
} | {
    verb: (
        getattr(ss.LDS, verb),
        "y inputs=None * mask=None state=None method=None seed=None condition=None lengths=None",
    )
    for verb in ("filter", "smooth", "log_likelihood", "score")
}  # fmt: skip
SIGNATURES["filter"] = (ss.LDS.filter, SIGNATURES["filter"][1] + " keep='all'")
SIGNATURES["smooth"] = (ss.LDS.smooth, SIGNATURES["smooth"][1] + " keep='all'")

GRADIENT = {
    "steps", "lr", "optimizer", "weight_decay", "schedule", "batch_size", "clip", "window",
    "patience", "restarts", "checkpoint",
}  # fmt: skip

NAMES = {
    "LDS", "NoisyRNN", "NonlinearGaussian", "AutoregressiveRNN", "TeacherForcing",
    "DeepKalmanFilter", "LSTMStateSpace", "VRNN", "SRNN", "Guided", "Variational",
    "ImportanceWeighted", "FIVO", "Warmup",
    "Kalman", "ParticleFilter", "EM", "Gradient", "Param", "Fixed", "Varying", "Trajectory",
    "Filtered", "Smoothed", "Forecast", "Score", "FitResult", "load", "compare", "check_model",
    "citation", "datasets", "plot", "diagnostics",
}  # fmt: skip

FIELDS = {
    "filter": "mean cov predicted_mean predicted_cov y_mean y_cov innovations increments "
    "log_likelihood kind state repairs",
    "smooth": "mean cov cross_cov y_mean y_cov log_likelihood kind repairs sample to_frame",
    "forecast": "mean stddev cov quantile sample z_mean z_cov kind to_frame probs",
    "score": "value stderr kind per_step per_value n_steps n_values num_samples",
    "fit": "model converged reason history num_params aic bic seconds seed summary "
    "standard_errors parameters warnings restarts log_likelihood kind n_values",
}


def asked(call: Any) -> list[inspect.Parameter]:
    return [p for p in inspect.signature(call).parameters.values() if p.name not in ("self", "cls")]


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_call_takes_what_it_promises(name: str) -> None:
    """The same names and defaults, in this order where they go by position; none is missing."""
    call, wanted = SIGNATURES[name]
    found = {p.name: p for p in asked(call)}
    keyword_only = False
    place = 0
    for word in wanted.split():
        if word == "*":
            keyword_only = True
            continue
        if word.startswith("**"):
            assert found[word[2:]].kind is inspect.Parameter.VAR_KEYWORD
            continue
        key, _, default = word.partition("=")
        assert key in found, f"{name} has lost {key}"
        parameter = found[key]
        if default:
            assert repr(parameter.default) == default
        else:
            assert parameter.default in (inspect.Parameter.empty, None)
        if keyword_only:
            assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, key
        else:
            assert list(found)[place] == key
            place += 1


def test_the_gradient_learner_takes_its_settings() -> None:
    """By name, each of them."""
    assert {p.name for p in asked(ss.Gradient)} >= GRADIENT


def test_the_front_door_offers_the_names() -> None:
    """All of them, and says so in __all__ and in dir()."""
    assert set(ss.__all__) >= NAMES
    assert set(dir(ss)) >= NAMES
    assert all(getattr(ss, name) is not None for name in NAMES)


@pytest.mark.parametrize("verb", FIELDS)
def test_a_record_has_its_fields(verb: str) -> None:
    """Every field and method by the promised name."""
    lds = ss.LDS(1, 1, A=[[0.5]], C=[[1.0]], Q=[[1.0]], R=[[1.0]], initial="stationary")
    y = torch.tensor([1.0, 2.0, 0.0, 1.0])
    kwargs: dict[str, Any] = {"horizon": 2} if verb == "forecast" else {}
    if verb == "fit":
        kwargs = {"learner": ss.EM(max_iter=1, polish=False), "seed": 0}
    record = getattr(lds, verb)(y, **kwargs)
    missing = [name for name in FIELDS[verb].split() if not hasattr(record, name)]
    assert not missing, f"{type(record).__name__} has no {missing}"


def test_a_state_and_what_a_step_says() -> None:
    """state.t, .belief, .memory, .y and .generator; info.increment, .predicted and .belief."""
    lds = ss.LDS(1, 1, A=[[0.5]], C=[[1.0]], Q=[[1.0]], R=[[1.0]], initial="stationary")
    state, info = lds.step(lds.start(), [1.0])
    for name in ("t", "belief", "memory", "y", "generator"):
        assert hasattr(state, name), name
    for name in ("increment", "predicted", "belief"):
        assert hasattr(info, name), name
