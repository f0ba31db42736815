"""Deep models: an epoch beside Pyro's, and what a fused kernel is worth."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

import statespace as ss
from statespace.interface import Path

from .libraries import Library
from .problems import Rolls, rolls
from .race import agree
from .table import GREEN, MISSED, ratio, table
from .timing import Paced, interleaved

_ROUNDS = 3


def run(peers: list[Library], say: Callable[[str], None], *, tiny: bool = False) -> str:
    """The table."""
    rows = [*_epochs(peers, say, tiny), _fused(say, tiny)]
    return table(("", "work", "beside", "at least", "ratio"), rows)


def _epochs(peers: list[Library], say: Callable[[str], None], tiny: bool) -> list[list[str]]:
    p = rolls(6, 3) if tiny else rolls()
    total = sum(len(y) for y in p.series)
    name = f"deep Markov model, one epoch of {len(p.series)} series, {total} rows"
    rows = []
    for peer in peers:
        say(f"deep: {name}, beside {peer.name}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a peer's remarks are not what is measured
            calls: dict[str, Callable[[], Any]] = {"ours": _ours(p), **peer.deep_markov(p)}
            times = interleaved(calls, 0.0, 1 if tiny else _ROUNDS)
        own = times.pop("ours")
        rows.append(_row(name, peer.name, 4.0, min(times.values()) / own))
    return rows


def _ours(p: Rolls) -> Paced:
    """The second epoch of a fit, from one report of its progress to another."""
    lengths = torch.tensor([len(y) for y in p.series])
    y = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(y) for y in p.series], batch_first=True)
    model = ss.DeepKalmanFilter(
        100, y.shape[-1], hidden_dim=200, emission_dim=(100, 100), activation="relu",
        encoder_dim=600, encoder_cell="rnn", encoder_activation="relu", posterior_dim=(),
        family="bernoulli", seed=0,
    )  # fmt: skip
    updates = -(-len(p.series) // p.batch)
    how: dict[str, Any] = {"lr": 3e-4, "clip": 10.0, "batch_size": p.batch}

    def seconds() -> float:
        times: dict[int, float] = {}

        def report(i: int, value: float) -> None:
            times[i] = time.perf_counter()

        learner = ss.Gradient(2 * updates, **how)
        model.fit(y, lengths=lengths, learner=learner, progress=report, seed=0)
        return times[2 * updates] - times[updates]

    return Paced(seconds, seconds)


def _fused(say: Callable[[str], None], tiny: bool) -> list[str]:
    """The log-likelihood of an LSTM by its kernel and by a loop over its steps."""
    series, rows, width = (2, 10, 4) if tiny else (16, 200, 64)
    name = f"log-likelihood of an autoregressive LSTM, H = {width}, {series} x {rows}"
    say(f"deep: {name}")
    y = np.random.default_rng(0).standard_normal((series, rows, 8)).astype(np.float32)
    fused, stepped = (
        ss.AutoregressiveRNN(8, hidden_dim=width, cell="lstm", seed=0) for _ in range(2)
    )
    object.__setattr__(stepped.path, "scan", partial(Path.scan, stepped.path))

    def value(model: ss.AutoregressiveRNN) -> Any:
        with torch.no_grad():
            return model.log_likelihood(y).numpy()

    calls = {"fused": partial(value, fused), "stepped": partial(value, stepped)}
    if not agree(calls["fused"](), calls["stepped"](), 1e-5):
        return [MISSED, name, "its steps", "", "another result"]
    times = interleaved(calls, 0.0 if tiny else 2.0)
    return _row(name, "its steps, one after the other", 8.0, times["stepped"] / times["fused"])


def _row(name: str, beside: str, least: float, found: float) -> list[str]:
    return [GREEN if found >= least else MISSED, name, beside, f"{least:g} x", ratio(found)]
