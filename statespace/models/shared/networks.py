"""What models made of networks share: units of the data, storage, random start weights."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from typing import Any, ClassVar, Self

import torch
from torch import Generator, Tensor, nn

from statespace.errors import InputError, StateSpaceError, StorageError, expected
from statespace.interface import Context, Path, lend, seeded
from statespace.models.shared.record import unfit
from statespace.nn import Beside, Head, Numbers, Tokens
from statespace.sequences import Sequences, read_count

__all__ = ["NetworkModel", "check_counts", "check_word", "drawn_from", "widths"]

_DTYPES = {"float64": torch.float64, "float32": torch.float32}


class NetworkModel(nn.Module):
    """The part of a model that its networks share.

    Attributes:
        seen: What the networks see of y.
        inputs_seen: What they see of u.
        head: From features to the density of y.
        begun: Whether units and level are those of data.
        settings: The constructor's arguments.
    """

    head_sees_h: ClassVar[bool] = True
    seen: Numbers | Tokens
    inputs_seen: Numbers
    path: Path
    head: nn.Module
    begun: Tensor
    settings: dict[str, Any]

    def _remember(self, **settings: Any) -> None:
        """Keeps the constructor's arguments, as they are stored and shown."""
        self.settings = settings
        self.register_buffer("begun", torch.tensor(not settings["standardise"]))

    def start_values(self, data: Sequences, generator: Generator) -> None:
        """At the first fit: units of the data, and heads that begin at the data's level."""
        if bool(self.begun):
            return
        rows = data.active[..., None].expand(data.inputs.shape)
        self.inputs_seen.learn(data.inputs, rows)
        self.seen.learn(data.values, data.observed)
        if isinstance(self.head, Head):
            self.head.learn(data.values, data.observed)
            if self.head_sees_h and isinstance(self.path, Beside) and self.path.shown:
                self.head.regress(*self._shown(self.path, data))
        self.begun.fill_(True)

    @torch.no_grad()
    def _shown(self, path: Beside, data: Sequences) -> tuple[Tensor, Tensor, Tensor]:
        """What the head sees of rows that the memory read last, y, and which rows are whole.

        The rest of what it sees, z among it, is zero.
        """
        model: Any = self
        lead, u = (*data.batch_shape, data.T), data.inputs
        zero, first = model.origin(data.batch_shape)
        first = first.expand(*data.batch_shape, -1)[..., None, :]
        y = torch.cat([first, data.values[..., :-1, :]], -2) if "y" in model.reads else None
        z = zero[..., None, :].expand(*lead, -1) if "z" in model.reads else None
        x = model.feed(z, y, Context(torch.arange(data.T, device=u.device), u, u[..., :0]))
        begin = path.start(data.batch_shape, data.condition)
        _, h = path.scan(begin, x, torch.full_like(data.lengths, data.T))
        h = torch.cat([torch.zeros_like(h[..., : -path.shown]), h[..., -path.shown :]], -1)
        known = data.observed.all(-1)
        rows = known.clone()
        for k in range(1, min(path.rows, data.T - 1) + 1):
            rows[..., k:] &= known[..., :-k]
        rows[..., : path.rows] = False
        z = h.new_zeros(*lead, model.latent.size)
        return torch.cat([z, h], -1), data.values, rows & data.active

    # ------------------------------------------------------------------ storage

    def _describe(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        plain = {k: v for k, v in self.settings.items() if not isinstance(v, nn.Module)}
        if "dtype" in plain:
            plain["dtype"] = str(plain["dtype"]).removeprefix("torch.")
        own = [k for k, v in self.settings.items() if isinstance(v, nn.Module)]
        held = [name for name, p in self.named_parameters() if not p.requires_grad]
        record = {"settings": plain, "held": held, **({"functions": own} if own else {})}
        return record, dict(self.state_dict())

    @classmethod
    def _restore(cls, record: dict[str, Any], tensors: dict[str, Tensor], **modules: Any) -> Self:
        try:
            settings = dict(record["settings"])
            settings["dtype"] = _DTYPES[settings["dtype"]]
            model = cls(**settings, **modules)
            model.load_state_dict(tensors)
            for name, p in model.named_parameters():
                p.requires_grad_(name not in record["held"])
        except (KeyError, RuntimeError, TypeError, StateSpaceError) as error:
            if isinstance(error, StorageError):
                raise
            raise unfit(cls.__name__, str(error)) from error
        return model

    def extra_repr(self) -> str:
        defaults = inspect.signature(type(self).__init__).parameters
        shown = {
            k: v for k, v in self.settings.items() if k not in defaults or v != defaults[k].default
        }
        return ", ".join(
            f"{k}={'...' if isinstance(v, nn.Module) else v}" for k, v in shown.items()
        )


def drawn_from(seed: Any) -> Any:
    """A block in which weights are drawn: from the seed, and torch's generator stays as it was."""
    return lend(seeded(seed, "cpu")[0])


def widths(name: str, value: Any) -> tuple[int, ...] | None:
    """Widths of layers: one, or one for each of several, perhaps none; None stays.

    Example:
        >>> widths("emission_dim", 100), widths("emission_dim", [100, 50])
        ((100,), (100, 50))
    """
    if value is None:
        return None
    several = value if isinstance(value, list | tuple) else [value]
    return tuple(read_count(width, name=name) for width in several)


def check_word(name: str, value: Any, words: Collection[str]) -> None:
    """One of some words.

    Raises:
        InputError: another.
    """
    if value not in words:
        wanted = "one of " + ", ".join(f'"{word}"' for word in words)
        raise InputError(expected(name, wanted, repr(value), "Choose one of them."))


def check_counts(**counts: Any) -> None:
    """Sizes, at least one each."""
    for name, count in counts.items():
        read_count(count, name=name)
