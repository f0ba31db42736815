"""A linear dynamical system as a record and tensors, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from statespace.errors import StateSpaceError, StorageError, expected
from statespace.models.lds.slots import MOMENTS
from statespace.parameters.stored import describe_slot, fill_slot, stored_declaration

if TYPE_CHECKING:
    from statespace.models.lds.model import LDS

__all__ = ["describe", "restore"]

_DTYPES = {"float64": torch.float64, "float32": torch.float32}


def describe(lds: LDS) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What JSON holds (sizes, kinds of start, what is learned, held or tied), and the tensors."""
    slots: dict[str, Any] = {}
    tensors: dict[str, Tensor] = {}
    for name in map(str, lds.slots):
        slots[name], parts = describe_slot(lds.slot(name))
        tensors |= {f"{name}.{part}": tensor for part, tensor in parts.items()}
    record = {
        "latent_dim": lds.latent_dim,
        "obs_dim": lds.obs_dim,
        "input_dim": lds.input_dim,
        "initial": list(lds.kinds),
        "diffuse_constant": lds.diffuse_constant,
        "dtype": str(lds.dtype).removeprefix("torch."),
        "slots": slots,
    }
    return record, tensors


def restore(cls: type[LDS], record: dict[str, Any], tensors: dict[str, Tensor]) -> LDS:
    """The model that `describe` described, bit for bit.

    Raises:
        StorageError: a field or a tensor is missing or does not fit.
    """
    try:
        sizes = (record["latent_dim"], record["obs_dim"], record["input_dim"])
        arguments: dict[str, Any] = {
            name: stored_declaration(slot, _of(name, tensors))
            for name, slot in record["slots"].items()
        }
        kinds = record["initial"]
        if not {"known", "estimate"} & set(kinds):
            arguments = {k: v for k, v in arguments.items() if k not in MOMENTS}
        lds = cls(
            *sizes,
            **arguments,
            initial=kinds,
            diffuse_constant=record["diffuse_constant"],
            dtype=_DTYPES[record["dtype"]],
        )
        for name, slot in record["slots"].items():
            fill_slot(lds.slot(name), slot, _of(name, tensors))
    except KeyError as error:
        raise _unfit(f"no {error}") from error
    except (AttributeError, TypeError, StateSpaceError) as error:
        if isinstance(error, StorageError):
            raise
        raise _unfit(str(error)) from error
    return lds


def _of(name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    start = f"{name}."
    return {key.removeprefix(start): t for key, t in tensors.items() if key.startswith(start)}


def _unfit(why: str) -> StorageError:
    return StorageError(
        expected(
            "path",
            "the record and tensors of an LDS",
            why,
            "Restore the folder from a copy, or save the model again.",
        )
    )
