"""How sure are the variances of the Nile? NUTS over the parameters, the states integrated out.

A local level model of the flow of the Nile has two variances. Pyro's no-U-turn sampler draws them
from their posterior; the hundred states never enter, since `ss.pyro.distribution` is the exact
likelihood of the whole series, with its gradient. With two parameters the posterior can also be
written on a grid: means and standard deviations of both are compared.

    python examples/nuts.py    # about half a minute
"""

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import MCMC, NUTS
from torch import Tensor

import statespace as ss

F64 = torch.float64
PRIOR = dist.Normal(torch.tensor([7.0, 9.0], dtype=F64), 2.0)  # of log Q and log R


def local_level(logs: Tensor) -> ss.LDS:
    """z_t = z_{t-1} + w_t, y_t = z_t + v_t, from the logarithms of Q and R, (*batch, 2)."""
    q, r = logs.exp()[..., None, None].unbind(-3)
    return ss.LDS(1, 1, A=[[1.0]], C=[[1.0]], Q=ss.Fixed(q), R=ss.Fixed(r), initial="diffuse")


def program(y: Tensor) -> None:
    """The model that NUTS draws from."""
    logs = pyro.sample("logs", PRIOR.to_event(1))
    pyro.sample("y", ss.pyro.distribution(local_level(logs), len(y)), obs=y)


@torch.no_grad()
def on_a_grid(y: Tensor) -> tuple[Tensor, Tensor]:
    """Posterior means and standard deviations of the logarithms: one batch of 90 x 90 models."""
    log_q, log_r = torch.linspace(1, 11, 90, dtype=F64), torch.linspace(8, 11, 90, dtype=F64)
    grid = torch.cartesian_prod(log_q, log_r)
    log_p = local_level(grid).log_likelihood(y) + PRIOR.log_prob(grid).sum(-1)
    weights = (log_p - log_p.logsumexp(0)).exp()[:, None]
    mean = (weights * grid).sum(0)
    return mean, (weights * (grid - mean).square()).sum(0).sqrt()


def main() -> None:
    """Draws, integrates, prints both, asserts that they agree."""
    y = ss.datasets.nile()
    pyro.set_rng_seed(0)
    mcmc = MCMC(NUTS(program), num_samples=600, warmup_steps=200, disable_progbar=True)
    mcmc.run(y)
    drawn = mcmc.get_samples()["logs"]
    effective = mcmc.diagnostics()["logs"]["n_eff"]
    mean, sd = on_a_grid(y)
    print(f"{'':<8}{'NUTS':>16}{'grid':>18}")
    for i, name in enumerate(("log Q", "log R")):
        found, spread = float(drawn[:, i].mean()), float(drawn[:, i].std())
        print(
            f"{name:<8}{found:>8.3f} +- {spread:.3f}{float(mean[i]):>10.3f} +- {float(sd[i]):.3f}"
        )
        error = float(sd[i] / effective[i] ** 0.5)
        assert abs(found - float(mean[i])) < 4 * error
        assert 0.8 < spread / float(sd[i]) < 1.25


if __name__ == "__main__":
    main()
