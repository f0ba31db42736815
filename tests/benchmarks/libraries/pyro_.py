"""Pyro: the deep Markov model of Krishnan, Shalit and Sontag (2017), with its public API.

Sizes, gates and the padding with masks are those of Pyro's tutorial: z 100, transition 200,
emission 100, a ReLU recurrent network of 600 units that reads a series backwards, ClippedAdam.
"""

from __future__ import annotations

import time
from functools import partial

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import ClippedAdam
from torch import Tensor, nn
from torch.nn.functional import relu, softplus

from ..problems import Rolls
from ..timing import Paced
from .base import Calls, Library


class Pyro(Library):
    name, package = "pyro", "pyro-ppl"
    settings = (
        "SVI with Trace_ELBO and ClippedAdam, a loop over rows under pyro.markov, padding masked, "
        "batches in a random order cut to their longest series; with and without its validation of "
        "arguments"
    )

    def deep_markov(self, p: Rolls) -> Calls:
        series = [torch.from_numpy(y) for y in p.series]

        def seconds(validated: bool) -> float:
            pyro.clear_param_store()
            pyro.set_rng_seed(0)
            engine = trainer(DeepMarkov(notes=p.series[0].shape[-1]))
            with pyro.validation_enabled(validated):
                epoch(engine, series, p.batch)
                begin = time.perf_counter()
                epoch(engine, series, p.batch)
                return time.perf_counter() - begin

        words = {"as it comes": True, "without validation": False}
        calls = {word: partial(seconds, validated) for word, validated in words.items()}
        return {word: Paced(call, call) for word, call in calls.items()}


class Emission(nn.Module):
    """Logits of 88 notes from z."""

    def __init__(self, notes: int, z: int, hidden: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(z, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, notes),
        )  # fmt: skip

    def forward(self, z: Tensor) -> Tensor:
        return torch.sigmoid(self.net(z))


class GatedTransition(nn.Module):
    """Mean and scale of z_t: a gate mixes a linear map, at first the identity, with a net."""

    def __init__(self, z: int, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.Linear(z, hidden), nn.ReLU(), nn.Linear(hidden, z))
        self.proposed = nn.Sequential(nn.Linear(z, hidden), nn.ReLU(), nn.Linear(hidden, z))
        self.plain, self.spread = nn.Linear(z, z), nn.Linear(z, z)
        nn.init.eye_(self.plain.weight)
        nn.init.zeros_(self.plain.bias)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        gate, proposed = torch.sigmoid(self.gate(z)), self.proposed(z)
        mean = (1 - gate) * self.plain(z) + gate * proposed
        return mean, softplus(self.spread(relu(proposed)))


class Combiner(nn.Module):
    """Mean and scale of q(z_t | z_{t-1}, what comes)."""

    def __init__(self, z: int, memory: int) -> None:
        super().__init__()
        self.into = nn.Linear(z, memory)
        self.mean, self.spread = nn.Linear(memory, z), nn.Linear(memory, z)

    def forward(self, z: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        both = 0.5 * (torch.tanh(self.into(z)) + memory)
        return self.mean(both), softplus(self.spread(both))


class DeepMarkov(nn.Module):
    """Model and guide."""

    def __init__(
        self,
        notes: int = 88,
        z: int = 100,
        emission: int = 100,
        transition: int = 200,
        memory: int = 600,
    ) -> None:
        super().__init__()
        self.emission = Emission(notes, z, emission)
        self.transition = GatedTransition(z, transition)
        self.combiner = Combiner(z, memory)
        self.rnn = nn.RNN(notes, memory, nonlinearity="relu", batch_first=True)
        self.z_0, self.q_0 = nn.Parameter(torch.zeros(z)), nn.Parameter(torch.zeros(z))
        self.h_0 = nn.Parameter(torch.zeros(1, 1, memory))

    def model(self, y: Tensor, back: Tensor, mask: Tensor, beta: float = 1.0) -> None:
        pyro.module("dmm", self)
        z = self.z_0.expand(len(y), -1)
        with pyro.plate("series", len(y)):
            for t in pyro.markov(range(y.shape[1])):
                mean, spread = self.transition(z)
                with pyro.poutine.scale(scale=beta):
                    law = dist.Normal(mean, spread).mask(mask[:, t : t + 1]).to_event(1)
                    z = pyro.sample(f"z_{t}", law)
                notes = dist.Bernoulli(self.emission(z)).mask(mask[:, t : t + 1]).to_event(1)
                pyro.sample(f"y_{t}", notes, obs=y[:, t])

    def guide(self, y: Tensor, back: Tensor, mask: Tensor, beta: float = 1.0) -> None:
        pyro.module("dmm", self)
        lengths = mask.sum(1).long()
        packed = nn.utils.rnn.pack_padded_sequence(
            back, lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        out, _ = self.rnn(packed, self.h_0.expand(1, len(y), -1).contiguous())
        memory, _ = nn.utils.rnn.pad_packed_sequence(out, batch_first=True, total_length=y.shape[1])
        memory = reverse(memory, lengths)
        z = self.q_0.expand(len(y), -1)
        with pyro.plate("series", len(y)):
            for t in pyro.markov(range(y.shape[1])):
                mean, spread = self.combiner(z, memory[:, t])
                with pyro.poutine.scale(scale=beta):
                    law = dist.Normal(mean, spread).mask(mask[:, t : t + 1]).to_event(1)
                    z = pyro.sample(f"z_{t}", law)


def reverse(x: Tensor, lengths: Tensor) -> Tensor:
    """Each series backwards, at its own length; padding stays at the end."""
    t = torch.arange(x.shape[1])
    at = torch.where(t < lengths[:, None], lengths[:, None] - 1 - t, t)
    return x.gather(1, at[..., None].expand_as(x))


def trainer(model: DeepMarkov) -> SVI:
    """Pyro's engine with the tutorial's optimiser settings."""
    optimizer = ClippedAdam(
        {"lr": 3e-4, "betas": (0.96, 0.999), "clip_norm": 10.0, "lrd": 0.99996, "weight_decay": 2.0}
    )
    return SVI(model.model, model.guide, optimizer, loss=Trace_ELBO())


def epoch(svi: SVI, series: list[Tensor], batch: int) -> float:
    """One pass in random order; the bound per row."""
    loss = 0.0
    for rows in torch.randperm(len(series)).split(batch):
        some = [series[int(i)] for i in rows]
        lengths = torch.tensor([len(x) for x in some])
        y = nn.utils.rnn.pad_sequence(some, batch_first=True)
        mask = (torch.arange(y.shape[1]) < lengths[:, None]).float()
        loss += svi.step(y, reverse(y, lengths), mask)
    return -loss / sum(len(x) for x in series)
