"""The slots of a model as a record and tensors, and back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from statespace.errors import StateSpaceError, StorageError, expected
from statespace.models.shared.slots import MOMENTS, Parameters
from statespace.parameters.stored import describe_slot, fill_slot, stored_declaration

__all__ = ["describe", "restore"]

_DTYPES = {"float64": torch.float64, "float32": torch.float32}


def describe(model: Parameters, **settings: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What JSON holds (sizes, kinds of start, what is learned, held or tied), and the tensors.

    Args:
        model: The model.
        **settings: Further arguments of its constructor, which JSON can hold.
    """
    slots: dict[str, Any] = {}
    tensors: dict[str, Tensor] = {}
    for name in map(str, model.slots):
        slots[name], parts = describe_slot(model.slot(name))
        tensors |= {f"{name}.{part}": tensor for part, tensor in parts.items()}
    record = {
        "latent_dim": model.latent_dim,
        "obs_dim": model.obs_dim,
        "input_dim": model.input_dim,
        "initial": list(model.kinds),
        **settings,
        "dtype": str(model.dtype).removeprefix("torch."),
        "slots": slots,
    }
    return record, tensors


def restore(
    cls: Any,
    record: dict[str, Any],
    tensors: dict[str, Tensor],
    settings: tuple[str, ...],
    **functions: Any,
) -> Any:
    """The model that `describe` described, bit for bit.

    Args:
        cls: Its class.
        record: What JSON held.
        tensors: What stood beside it.
        settings: Names of the further arguments.
        **functions: Arguments that were not stored.

    Raises:
        StorageError: a field or a tensor is missing or does not fit.
    """
    name = cls.__name__
    try:
        sizes = (record["latent_dim"], record["obs_dim"], record["input_dim"])
        arguments: dict[str, Any] = {
            name: stored_declaration(slot, _of(name, tensors))
            for name, slot in record["slots"].items()
        }
        kinds = record["initial"]
        if not {"known", "estimate"} & set(kinds):
            arguments = {k: v for k, v in arguments.items() if k not in MOMENTS}
        model = cls(
            *sizes,
            **arguments,
            initial=kinds,
            **{key: record[key] for key in settings},
            dtype=_DTYPES[record["dtype"]],
            **functions,
        )
        for key, slot in record["slots"].items():
            fill_slot(model.slot(key), slot, _of(key, tensors))
    except KeyError as error:
        raise unfit(name, f"no {error}") from error
    except (AttributeError, TypeError, StateSpaceError) as error:
        if isinstance(error, StorageError):
            raise
        raise unfit(name, str(error)) from error
    return model


def _of(name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    start = f"{name}."
    return {key.removeprefix(start): t for key, t in tensors.items() if key.startswith(start)}


def unfit(name: str, why: str) -> StorageError:
    """What is stored is no such model."""
    return StorageError(
        expected(
            "path",
            f"the record and tensors of {'an' if name == 'LDS' else 'a'} {name}",
            why,
            "Restore the folder from a copy, or save the model again.",
        )
    )
