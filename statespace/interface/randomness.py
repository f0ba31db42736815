"""Random numbers: seeds, and lending a generator to torch.

`torch.distributions` take no generator, they draw from torch's own. A verb therefore lends: for
as long as it runs, torch's generator continues our stream; afterwards our generator has moved on
and torch's is what it was, also if the verb failed. One thread lends at a time.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from operator import index
from typing import Any, SupportsIndex

import torch
from torch import Generator

from statespace.errors import InputError, InputTypeError, expected

__all__ = ["clone", "lend", "seeded"]

_LOCK = threading.RLock()
_LARGEST = 2**63 - 1


def seeded(seed: Any, device: torch.device | str) -> tuple[Generator, int]:
    """A generator, and the seed it was made from: a fresh one if None is given.

    Raises:
        InputTypeError: the seed is no integer.
        InputError: it is negative or needs more than 63 bits.

    Example:
        >>> generator, seed = seeded(7, "cpu")
        >>> seed, generator.initial_seed()
        (7, 7)
    """
    if seed is None:
        seed = secrets.randbits(63)
    if isinstance(seed, bool) or not isinstance(seed, SupportsIndex):
        raise InputTypeError(
            expected("seed", "an integer or None", type(seed).__name__, "Give a whole number.")
        )
    seed = index(seed)
    if not 0 <= seed <= _LARGEST:
        raise InputError(
            expected("seed", f"0 to {_LARGEST}", str(seed), "Give a number in that range.")
        )
    return Generator(device).manual_seed(seed), seed


def clone(generator: Generator) -> Generator:
    """A generator of the same state, so that the old one can be used again."""
    twin = Generator(generator.device)
    twin.set_state(generator.get_state())
    return twin


def _torch_generator(device: torch.device) -> Generator:
    if device.type == "cpu":
        return torch.default_generator
    if device.type == "cuda":
        torch.cuda.init()
        number = torch.cuda.current_device() if device.index is None else device.index
        return torch.cuda.default_generators[number]
    raise InputError(
        expected("device", "cpu or cuda", str(device), "Move the model with .to('cpu').")
    )


@contextmanager
def lend(generator: Generator) -> Iterator[Generator]:
    """Lends a generator to torch.

    Args:
        generator: Whose stream torch continues. If it is torch's own, it is lent already, and
            nothing happens.

    Yields:
        torch's generator on that device: hand this one on, so that what is drawn with
        `generator=` and what is drawn without come from one stream.

    Example:
        >>> mine, _ = seeded(1, "cpu")
        >>> before = torch.get_rng_state()
        >>> with lend(mine):
        ...     a = torch.rand(())
        >>> torch.equal(before, torch.get_rng_state())
        True
        >>> bool(a == torch.rand((), generator=seeded(1, "cpu")[0]))
        True
    """
    host = _torch_generator(generator.device)
    if generator is host:
        yield host
        return
    hosts = [host] if host is torch.default_generator else [host, torch.default_generator]
    with _LOCK:
        kept = [h.get_state() for h in hosts]
        for extra in hosts[1:]:  # what a CUDA model draws on the CPU hangs on the seed too
            extra.manual_seed(generator.initial_seed())
        host.set_state(generator.get_state())
        try:
            yield host
        finally:
            generator.set_state(host.get_state())
            for h, state in zip(hosts, kept, strict=True):
                h.set_state(state)
