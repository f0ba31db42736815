"""How a covariance splits into blocks, and which numbers of its root are learned.

Entries that hang together (learned together, or held at something else than zero) form a block. A
block is held, or learned through its own root:

    full      lower triangle L, P = L L'
    compound  one variance, one covariance: a symmetric root with one number on the diagonal and
              one off it, P = S S; its eigenvalues s1 + (n-1) s2 and s1 - s2 square to those of P

No number is a logarithm, so that a variance may be exactly zero, and signs do not matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from statespace.errors import InputError, expected
from statespace.parameters.pattern import Pattern, shared

__all__ = ["Block", "Blocks", "blocks_of", "nonzero_anywhere"]


@dataclass(frozen=True)
class Block:
    """Rows `rows` of the covariance and the numbers of theta that its root reads.

    Attributes:
        rows: Indices, rising.
        kind: "full" or "compound".
        theta: For "full", those of the lower triangle row by row; for "compound", two.
    """

    rows: tuple[int, ...]
    kind: str
    theta: tuple[int, ...]


@dataclass(frozen=True)
class Blocks:
    """What of a covariance is learned.

    Attributes:
        learned: The blocks.
        root: The pattern of the root.
        entries: (n_free,) for each number of theta, a flat index into the lower triangle.
        twins: The blocks again, those together that share their numbers.
        held: (n, n) boolean, the blocks that are held.
        partly_held: Whether there are any.
        diagonal: Whether nothing stands off the diagonal.
    """

    learned: tuple[Block, ...]
    root: Pattern
    entries: Tensor
    twins: tuple[tuple[Block, ...], ...]
    held: Tensor
    partly_held: bool
    diagonal: bool


def blocks_of(name: str, pattern: Pattern, held: Tensor) -> Blocks:
    """Splits a covariance by its pattern and its held values (*, n, n).

    Raises:
        InputError: a mask or labels that are not symmetric, negative labels, a block half held,
            ties that no root can express.
    """
    linked = pattern.free | nonzero_anywhere(held).cpu()
    found: Blocks = _split(name, pattern, linked.numpy().tobytes())
    return found


@shared
def _split(name: str, pattern: Pattern, linked: bytes) -> Blocks:
    """The blocks, where `linked`, (n, n) row by row, says what hangs together."""
    labels = pattern.labels
    _check_symmetric(name, labels)
    together = torch.from_numpy(np.frombuffer(linked, bool).reshape(labels.shape).copy())
    root = torch.zeros_like(labels)
    by_labels: dict[tuple[int, ...], Block] = {}
    owner: dict[int, tuple[int, ...]] = {}
    learned: list[Block] = []
    twins: dict[tuple[int, ...], list[Block]] = {}
    entries: list[int] = []
    for rows in _components(together):
        own = labels[list(rows)][:, list(rows)]
        if not bool((own != 0).any()):
            continue
        _check_whole(name, own, rows)
        key = (len(rows), *own.flatten().tolist())
        if key not in by_labels:
            _check_new(name, own, key, owner)
            by_labels[key] = _new_block(name, own, rows, entries, labels.shape[0])
        block = Block(rows, by_labels[key].kind, by_labels[key].theta)
        learned.append(block)
        twins.setdefault(key, []).append(block)
        _write_root(root, block)
    still = labels.diagonal() == 0
    return Blocks(
        tuple(learned),
        Pattern(root),
        torch.tensor(entries, dtype=torch.int64, device="cpu"),
        tuple(tuple(group) for group in twins.values()),
        still[:, None] & still,
        bool(still.any()),
        not bool((together & ~torch.eye(len(labels), dtype=torch.bool, device="cpu")).any()),
    )


def nonzero_anywhere(held: Tensor) -> Tensor:
    """(n, n), True where any model or row has something else than zero."""
    found = held.detach() != 0
    while found.dim() > 2:
        found = found.any(0)
    return found


def _components(linked: Tensor) -> list[tuple[int, ...]]:
    """Connected components, each rising, in the order of their first row."""
    n, left, out = linked.shape[0], set(range(linked.shape[0])), []
    either = (linked | linked.mT).tolist()
    for first in range(n):
        if first not in left:
            continue
        reached, queue = {first}, [first]
        while queue:
            i = queue.pop()
            new = {j for j in left - reached if either[i][j]}
            reached |= new
            queue.extend(new)
        left -= reached
        out.append(tuple(sorted(reached)))
    return out


def _new_block(name: str, own: Tensor, rows: tuple[int, ...], entries: list[int], n: int) -> Block:
    """A block with numbers of its own, which are added to `entries`."""
    k, begin = len(rows), len(entries)
    lower = [(i, j) for i in range(k) for j in range(i + 1)]
    seen = {int(own[i, j]) for i, j in lower}
    if len(seen) == len(lower):
        entries.extend(rows[i] * n + rows[j] for i, j in lower)
        return Block(rows, "full", tuple(range(begin, begin + len(lower))))
    diagonal = {int(own[i, i]) for i in range(k)}
    if len(diagonal) == 1 and len(seen) == 2 and len(seen - diagonal) == 1:
        entries.extend([rows[0] * n + rows[0], rows[1] * n + rows[0]])
        return Block(rows, "compound", (begin, begin + 1))
    raise InputError(
        expected(
            f"{name}.labels",
            "ties that a covariance can keep: between variances, between whole blocks, or one "
            "variance and one covariance over a block",
            f"other ties among rows {list(rows)}",
            "Untie them, or tie the whole block.",
        )
    )


def _write_root(root: Tensor, block: Block) -> None:
    k = len(block.rows)
    if block.kind == "full":
        pairs = [(i, j) for i in range(k) for j in range(i + 1)]
        for (i, j), theta in zip(pairs, block.theta, strict=True):
            root[block.rows[i], block.rows[j]] = theta + 1
        return
    for i in range(k):
        for j in range(k):
            root[block.rows[i], block.rows[j]] = block.theta[0 if i == j else 1] + 1


def _check_symmetric(name: str, labels: Tensor) -> None:
    off = labels.tril() if bool((labels < 0).any()) else labels
    if bool((labels < 0).any()):
        raise InputError(
            expected(
                f"{name}.labels",
                "positive labels in a covariance",
                "a negative label",
                "A variance has no negative: leave it out, or tie with positive labels.",
            )
        )
    free = off != 0
    if not bool((free == free.mT).all()):
        raise InputError(
            expected(
                f"{name}.free",
                "a symmetric mask",
                "a mask whose mirrored entries differ",
                "Free (i, j) and (j, i) together.",
            )
        )
    if not bool((labels == labels.mT).all()):
        raise InputError(
            expected(
                f"{name}.labels",
                "symmetric labels",
                "labels whose mirrored entries differ",
                "Label (i, j) and (j, i) alike.",
            )
        )


def _check_whole(name: str, own: Tensor, rows: tuple[int, ...]) -> None:
    if bool((own == 0).any()):
        raise InputError(
            expected(
                f"{name}.free",
                "blocks learned as a whole or held as a whole",
                f"rows {list(rows)}, which hang together, partly held",
                "Free all of that block, or hold all of it; a covariance of two separate blocks "
                "is held at 0.",
            )
        )


def _check_new(
    name: str, own: Tensor, key: tuple[int, ...], owner: dict[int, tuple[int, ...]]
) -> None:
    for label in own.flatten().tolist():
        if owner.setdefault(label, key) != key:
            raise InputError(
                expected(
                    f"{name}.labels",
                    "whole blocks tied to whole blocks",
                    "one entry tied into another block",
                    "Give both blocks the same labels throughout.",
                )
            )
