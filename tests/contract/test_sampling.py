"""Draws follow the model: their moments are the exact ones, row by row and across rows.

20000 draws, |z| < 5.5 for every mean and every entry of the covariance: a right sampler fails a
file of a few hundred such numbers with a probability of about 1e-5.
"""

import math

import pytest
import torch
from contract import oracle
from contract.tiny import F64, MODELS, READ_Y, inputs

DRAWS = 20000


@pytest.mark.parametrize("name", oracle.LINEAR)
def test_gaussian_models(name):
    """The joint law of all z and y of 5 rows, inputs and start symbols included."""
    model = MODELS[name](linear=True) if name in READ_Y else MODELS[name]()
    u = inputs(5)
    drawn = model.sample(5, DRAWS, u, seed=2)
    with torch.no_grad():
        zs, ys = oracle.LINEAR[name](model, u)
        law = oracle.stack(*zs, *ys)
    found = torch.cat([drawn.z.flatten(1), drawn.y.flatten(1)], -1)
    cov = law.m @ law.m.mT
    std = cov.diagonal().sqrt()
    z = (found.mean(0) - law.offset) / (std / math.sqrt(DRAWS))
    assert float(z.abs().max()) < 5.5
    bound = ((std[:, None] * std) ** 2 + cov**2).sqrt() / math.sqrt(DRAWS)
    assert float(((torch.cov(found.mT) - cov) / bound).abs().max()) < 5.5


def test_discrete_model():
    """P(k_t) and P(k_{t+1}, k_t) over all paths, and the mean of y given k."""
    model = MODELS["discrete"]()
    u = inputs(5)
    drawn = model.sample(5, DRAWS, u, seed=2)
    with torch.no_grad():
        nothing = torch.full((5, 2), torch.nan, dtype=F64)
        log_p, probs, pairs = oracle.log_p_discrete(model, nothing, u)
    assert abs(float(log_p)) < 1e-12
    share = torch.nn.functional.one_hot(drawn.z, 3).double().mean(0)
    assert bool(((share - probs).abs() < 5.5 * (probs * (1 - probs) / DRAWS).sqrt()).all())
    index = drawn.z[:, 1:] * 3 + drawn.z[:, :-1]
    share = torch.nn.functional.one_hot(index, 9).double().mean(0)
    wanted = pairs.reshape(4, 9)
    assert bool(((share - wanted).abs() < 5.5 * (wanted * (1 - wanted) / DRAWS).sqrt()).all())
    for k in range(3):
        here = drawn.y[drawn.z == k]
        gap = (here.mean(0) - model.centres[k]).abs()
        assert bool((gap < 5.5 * 0.8 / math.sqrt(len(here))).all())
