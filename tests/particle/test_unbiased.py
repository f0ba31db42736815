"""The likelihood is unbiased on the natural scale under every choice, by many runs at once.

Runs are series of one batch, so that they share nothing but the data. For each series the mean of
exp(log Z - exact) over RUNS runs is compared with 1 by its z-score, |z| < 4.5; a right filter
fails one comparison with probability 7e-6 (the means of 800 ratios of moderate spread are normal
enough), all 180 of this file with less than 1e-3; seeds are fixed.
"""

import math

import pytest
import torch
from particle.linear import Exact, Leaning, ragged, small

import statespace as ss
from statespace.particles import SCHEMES

RUNS = 800

PROPOSALS = {
    "bootstrap": lambda: "bootstrap",
    "auxiliary": lambda: "auxiliary",
    "guide": lambda: Leaning(2, 2),
    "method": Exact,
    "extended": ss.ExtendedKalman,
}


def ratios(method, seed=0):
    """The ratio p-hat(y) / p(y) of every run and series, (RUNS, 3)."""
    model = small()
    y, u, lengths = ragged(model)
    many = [x.expand(RUNS, *x.shape) for x in (y, u, lengths)]
    with torch.no_grad():
        exact = model.log_likelihood(y, u, lengths=lengths)
        found = model.log_likelihood(many[0], many[1], lengths=many[2], method=method, seed=seed)
    return (found - exact).exp()


def z_scores(ratio):
    return (ratio.mean(0) - 1) / (ratio.std(0) / math.sqrt(len(ratio)))


@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("proposal", PROPOSALS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_mean_ratio_to_the_exact_likelihood_is_one(scheme, proposal, threshold):
    """Schemes, proposals and thresholds; ragged series with inputs and gaps."""
    made = PROPOSALS[proposal]()
    method = ss.ParticleFilter(60, made, resampling=scheme, threshold=threshold)
    ratio = ratios(method)
    assert float(z_scores(ratio).abs().max()) < 4.5
    assert float(ratio.std(0).max()) > 0.01  # there was something to be unbiased about


def test_a_proposal_that_knows_y_has_less_variance():
    """Fully adapted particles against those that start from the prior."""
    adapted, plain = (
        float(ratios(ss.ParticleFilter(60, proposal, threshold=1.0)).log().std(0)[0])
        for proposal in (Exact(), "bootstrap")
    )
    assert adapted < 0.7 * plain


def test_the_threshold_is_kept_by_all_proposals():
    """0 never selects, 1 always, for the auxiliary filter too."""
    model = small()
    y, u, _ = ragged(model)
    for proposal in ("bootstrap", "auxiliary"):
        for threshold, least, most in ((0.0, 0, 0), (0.3, 0, 6), (1.0, 6, 6)):
            method = ss.ParticleFilter(60, proposal, threshold=threshold)
            found = model.filter(y[0], u[0], method=method, seed=0)
            own = torch.arange(60, dtype=torch.int32)
            count = int((found.ancestors != own).any(-1).sum())
            assert least <= count <= most, (proposal, threshold, count)
