"""The options that deep models share: name, type, default and text stand here, once.

A constructor takes them as `**options: Unpack[Options]`, so that type checkers know every one;
`spelled_out` puts them into its signature and its docstring, so that `help` does too.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict, get_args, get_type_hints

import torch

__all__ = ["MemoryOptions", "Option", "Options", "Width", "defaults_of", "spelled_out"]

Width = int | Sequence[int] | None
_MARK = "**options: "


@dataclass(frozen=True)
class Option:
    """A default, and what an option means."""

    default: Any
    text: str


class Options(TypedDict, total=False):
    """Of every deep model."""

    family: Annotated[
        Any,
        Option(
            "gaussian",
            'What y is: "gaussian", "student_t", "multivariate_normal", "multivariate_student_t", '
            '"mixture", "bernoulli", "poisson", "categorical", or a Module whose call returns a '
            "Distribution.",
        ),
    ]
    transition_dim: Annotated[
        Width,
        Option(
            None,
            "Width of the layer inside the prior of z_t, or one for each of several; "
            "hidden_dim if None.",
        ),
    ]
    emission_dim: Annotated[Width, Option(None, "Likewise of the head that emits y.")]
    posterior_dim: Annotated[Width, Option(None, "Likewise of the guide's posterior.")]
    activation: Annotated[
        str, Option("tanh", 'Between the layers of heads: "tanh", "relu" or "silu".')
    ]
    encoder: Annotated[
        str, Option("", 'Of the guide: "pointwise", "causal", "anticausal" or "both".')
    ]
    encoder_dim: Annotated[int | None, Option(None, "Width of e; hidden_dim if None.")]
    encoder_cell: Annotated[
        str | None,
        Option(None, 'Of a recurrent encoder: "gru", "lstm" or "rnn"; the memory\'s if None.'),
    ]
    encoder_layers: Annotated[
        int, Option(1, "How many cells on top of each other; of a pointwise one, layers.")
    ]
    encoder_activation: Annotated[str, Option("tanh", 'Of an "rnn": "tanh" or "relu".')]
    dropout: Annotated[
        float, Option(0.0, "Share of the encoder's input that is left out while a learner climbs.")
    ]
    posterior: Annotated[
        str, Option("", 'The guide\'s head: "mlp", "residual", "product" or "combiner".')
    ]
    num_categories: Annotated[
        int | None, Option(None, "V, of a categorical y, which holds 0 .. V - 1.")
    ]
    num_components: Annotated[int | None, Option(None, "Of a mixture of Gaussians.")]
    embedding_dim: Annotated[int | None, Option(None, "The width of a token's vector.")]
    min_scale: Annotated[
        float,
        Option(1e-3, "A floor under the scales of y, in standard deviations of the training data."),
    ]
    standardise: Annotated[
        bool, Option(True, "Whether units and level are taken from the data of the first fit.")
    ]
    dtype: Annotated[torch.dtype, Option(torch.float32, "torch.float32 or torch.float64.")]
    seed: Annotated[int | None, Option(None, "Of the start weights.")]


class _Memory(TypedDict, total=False):
    layers: Annotated[int, Option(1, "How many cells of the memory on top of each other.")]
    condition_dim: Annotated[
        int, Option(0, "The size of one vector per series that every step of the memory reads.")
    ]
    skip: Annotated[
        int,
        Option(
            0,
            "How many of the rows that the memory read last stand beside h_t, for prior, head and "
            "guide to see; where there are any, each network adds a linear map of what it reads.",
        ),
    ]


class MemoryOptions(_Memory, Options, total=False):
    """Of those with a recurrent memory."""


def _taken(function: Any) -> dict[str, tuple[Any, Option]]:
    """The type and the option behind each name that a constructor takes as `**options`."""
    bundle = get_type_hints(function).get("options")
    if bundle is None:
        return {}
    hints = get_type_hints(get_args(bundle)[0], include_extras=True)
    return {name: get_args(hint) for name, hint in hints.items()}


def defaults_of(function: Any, own: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults of a constructor's options, a model's own before the shared ones."""
    return {name: own.get(name, option.default) for name, (_, option) in _taken(function).items()}


def spelled_out(cls: type, own: Mapping[str, Any]) -> None:
    """Puts the options into the signature of a class's constructor, and into its docstring."""
    function: Any = cls.__dict__["__init__"]
    taken = _taken(function)
    if not taken:
        return
    defaults = defaults_of(function, own)
    parameters = list(inspect.signature(function, eval_str=True).parameters.values())[:-1]
    for name, (kind, _) in taken.items():
        way = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(name, way, default=defaults[name], annotation=kind))
    function.__signature__ = inspect.Signature(parameters, return_annotation=None)
    lines = []
    for line in (cls.__doc__ or "").split("\n"):
        if not line.lstrip().startswith(_MARK):
            lines.append(line)
            continue
        indent = line[: len(line) - len(line.lstrip())]
        for name, (_, option) in taken.items():
            how = {"initial_indent": indent, "subsequent_indent": indent + "    "}
            lines += textwrap.wrap(f"{name}: {option.text}", 100, **how)  # type: ignore[arg-type]
    cls.__doc__ = "\n".join(lines)
