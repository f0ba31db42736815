"""Posterior heads, the gated transition and what an encoder is shown, written out.

Would catch: precisions swapped, a gate the wrong way round, a missing entry that is seen.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

import statespace as ss
from statespace.nn import (
    GatedTransition,
    NeuralGuide,
    Numbers,
    encoder,
    encoder_features,
    normal,
    posterior,
)
from statespace.nn.chains import combined
from statespace.sequences import Sequences

F64 = torch.float64


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def head(word: str) -> tuple[Any, Any, tuple[Tensor, Tensor, Tensor]]:
    torch.manual_seed(0)
    q = posterior(word, 2, 3, 4, reads={"z", "h"}, hidden=(5,), dtype=F64)
    prior = normal(drawn(1, 6, 2), 0.5 + drawn(2, 6, 2).exp())
    return q, prior, (drawn(3, 6, 2), drawn(4, 6, 3), drawn(5, 6, 4))


def test_a_residual_shifts_the_prior() -> None:
    """Mean of the prior plus that of the net, whose scale it has."""
    q, prior, (z, e, h) = head("residual")
    shift, scale = q.net.parts(torch.cat([e, z, h], -1))
    found = q(z, e, h, prior)
    assert torch.allclose(found.mean, prior.mean + shift)
    assert torch.allclose(found.stddev, scale)


def test_a_product_is_the_product_of_the_densities() -> None:
    """log q - log prior - log N(m, s) is one constant over z."""
    q, prior, (z, e, h) = head("product")
    mean, scale = q.net.parts(torch.cat([e, z, h], -1))
    at = drawn(6, 50, 6, 2)
    found = q(z, e, h, prior).log_prob(at)
    both = prior.log_prob(at) + Normal(mean, scale).log_prob(at).sum(-1)
    gap = found - both
    assert torch.allclose(gap, gap[0].expand(gap.shape), atol=1e-10)


def test_a_combiner_averages_state_and_encoding() -> None:
    """(tanh(W [z, h] + b) + e) / 2 goes into the net."""
    q, _, (z, e, h) = head("combiner")
    x = torch.cat([z, h], -1)
    mean, scale = q.net.parts((torch.tanh(x @ q.entry.weight.mT + q.entry.bias) + e) / 2)
    found = q(z, e, h, None)
    assert torch.allclose(found.mean, mean)
    assert torch.allclose(found.stddev, scale)


def test_a_gate_mixes_a_line_and_a_net() -> None:
    """(1 - g)(W x + b) + g f(x); it begins with W = 1 on z."""
    torch.manual_seed(0)
    move = GatedTransition(2, 1, (5,), F64)
    z, u = drawn(1, 7, 2), drawn(2, 7, 1)
    x = torch.cat([z, u], -1)
    g, f = torch.sigmoid(move.gate(x)), move.net(x)
    found = move(z, u)
    assert torch.allclose(found.mean, (1 - g) * z + g * f)
    raw = f.clamp_min(0) @ move.scale.weight.mT + move.scale.bias
    assert torch.allclose(found.stddev, 1e-3 + torch.log1p(raw.exp()))


def test_a_missing_entry_is_seen_as_zero_with_a_mark() -> None:
    """In units of the data; what stands in its place does not matter, padding has no mark."""
    seen, inputs = Numbers(2, F64), Numbers(0, F64)
    seen.learn(drawn(1, 20, 2) + 50, torch.ones(20, 2, dtype=torch.bool))
    eyes = encoder("pointwise", encoder_features(seen, 2, 0, 0), 3, dtype=F64)
    q = posterior("mlp", 2, 3, dtype=F64)
    guide = NeuralGuide(seen, inputs, eyes, q)
    observed = torch.tensor([[True, True], [True, False], [False, False]])
    y = torch.full((3, 2), 51.0, dtype=F64)
    data = Sequences(y, observed, torch.tensor(2), torch.zeros(3, 0, dtype=F64))
    found = guide._features(data, data.inputs)
    wanted = torch.where(observed, (y - seen.shift) / seen.scale, 0.0)
    assert torch.allclose(found[:, :2], wanted)
    assert found[:, 2:].tolist() == [[0, 0], [0, 1], [0, 0]]


@pytest.mark.parametrize("reads", [(), ("h",)])
def test_a_chain_is_its_rows(reads: tuple[str, ...]) -> None:
    """Draws, means, scales and all their derivatives are those of one row after the other."""
    torch.manual_seed(0)
    q: Any = posterior("combiner", 2, 3, 4, reads=reads, min_scale=0.3, dtype=F64)
    assert q.chained
    assert not posterior("combiner", 2, 3, 4, hidden=(5,)).chained
    assert not posterior("mlp", 2, 3, 4).chained
    z, e, h, noise = (
        drawn(k, *shape).requires_grad_()
        for k, shape in enumerate([(2, 3, 2), (3, 6, 3), (3, 6, 4), (2, 3, 6, 2)])
    )

    def rows() -> tuple[Tensor, ...]:
        at, parts = z, []
        for t in range(6):
            found = q(at, e[:, t], h[:, t], None).base_dist
            at = found.loc + found.scale * noise[..., t, :]
            parts.append((at, found.loc, found.scale))
        return tuple(torch.stack(part, -2) for part in zip(*parts, strict=True))

    weights = [drawn(7 + k, 2, 3, 6, 2) for k in range(3)]
    told = []
    for found in (q.chain(z, e, h, noise.detach()), rows()):
        total = sum((w * x.sin()).sum() for w, x in zip(weights, found, strict=True))
        wanted = [z, e, *([h] if reads else []), *q.parameters()]
        told.append([*found, *torch.autograd.grad(total, wanted)])
    for a, b in zip(*told, strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-12)


def test_second_derivatives_of_a_chain() -> None:
    """Those of differences."""
    sizes = [(2, 2), (3, 2, 2), (3, 2, 3), (3, 2), (3,), (4, 3), (4,)]
    z, noise, e, W, a, V, v = (drawn(k, *size).requires_grad_() for k, size in enumerate(sizes))

    def chain(*parts: Tensor) -> tuple[Tensor, ...]:
        z, e, W, a, V, v = parts
        return combined(z, noise.detach(), e, (W, a), (V, v), 0.1)

    assert torch.autograd.gradcheck(chain, (z, e, W, a, V, v))
    assert torch.autograd.gradgradcheck(chain, (z, e, W, a, V, v))


def test_a_chained_bound_is_the_one_by_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """ELBO and gradient of a deep Kalman filter, number for number with the same seed."""
    y = drawn(3, 4, 7, 2)
    lengths = torch.tensor([7, 3, 5, 1])
    told = []
    for chained in (True, False):
        model: Any = ss.DeepKalmanFilter(
            3, 2, hidden_dim=4, posterior_dim=(), autoregressive=True, dtype=F64, seed=0
        )
        assert model.guide.chained
        if not chained:
            monkeypatch.setattr(NeuralGuide, "chained", False)
        value = model.log_likelihood(y, lengths=lengths, method=ss.Variational(), seed=2)
        slopes = torch.autograd.grad(value.sum(), list(model.parameters()), allow_unused=True)
        told.append([value, *(s for s in slopes if s is not None)])
    for a, b in zip(*told, strict=True):
        assert torch.allclose(a, b, rtol=1e-11, atol=1e-11)
