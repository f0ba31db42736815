"""Densities that torch lacks, and what the library asks of a density beyond torch's own methods.

`observed_log_prob` and `complete` are single dispatch on the class of the distribution: a head of
your own joins with `observed_log_prob.register` and `complete.register`.
"""

from statespace.densities.chain import Chain
from statespace.densities.counts import LogRatePoisson
from statespace.densities.missing import complete, observed_log_prob
from statespace.densities.root import GaussianRoot
from statespace.densities.roots import is_gaussian, rooted
from statespace.densities.student import MultivariateStudentT
from statespace.densities.summaries import category_probs, moments

__all__ = [
    "Chain",
    "GaussianRoot",
    "LogRatePoisson",
    "MultivariateStudentT",
    "category_probs",
    "complete",
    "is_gaussian",
    "moments",
    "observed_log_prob",
    "rooted",
]
