"""The methods, each a choice of rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Generator

from statespace.errors import InputError, InputTypeError, expected
from statespace.inference.kalman.smoothing import Shown, record, smooth_moments
from statespace.inference.linearising.linear import linear
from statespace.inference.linearising.loop import Plan, run
from statespace.inference.linearising.method import Linearising
from statespace.inference.linearising.mode import ModePlan
from statespace.inference.linearising.path import at_the_posterior
from statespace.inference.linearising.points import Cubature, GaussHermite, Unscented
from statespace.inference.linearising.refusing import not_gaussian
from statespace.inference.linearising.rules import Taylor
from statespace.inference.linearising.smoothing import problem
from statespace.inference.linearising.task import rows_of, task
from statespace.inference.linearising.whole import OverPaths
from statespace.interface import State
from statespace.results import Smoothed
from statespace.sequences import Sequences, read_count

__all__ = [
    "CubatureKalman",
    "ExtendedKalman",
    "GaussHermiteKalman",
    "Laplace",
    "PosteriorLinearisation",
    "UnscentedKalman",
]


@dataclass(frozen=True, repr=False)
class ExtendedKalman(OverPaths):
    """Tangents: the extended Kalman filter and smoother.

        z_t ~ g(m) + G (z - m) + w_t,   G the Jacobian of g at the filtered mean m
        y_t ~ f(p) + F (z - p) + v_t,   F the Jacobian of f at the predicted mean p

    Where y is not Gaussian given z its conditional mean and covariance are used. More iterations
    take the tangent of f again at the posterior mean, which then is a Gauss-Newton search for the
    mode of p(z_t given y up to t); they do not change a linear model.

    With scope="path" the smoother and the log-likelihood look at all of time: tangents are taken
    along a path, which is moved to the smoothed mean until it is the most probable one given y
    (Gauss-Newton, in steps that never fall); the log-likelihood is Laplace's there, with the
    Gauss-Newton curvature. y must then be Gaussian given z. `filter`, which never looks ahead, is
    that of scope="step".

    Args:
        iterations: How often the emission is linearised in a row, once by default; over paths, how
            many steps the path moves at the most, by default 50: it mostly stands still before.
        scope: "step", one row after the other, or "path".

    Example:
        >>> import statespace as ss
        >>> y = ss.datasets.nile()
        >>> level = ss.LDS(1, 1, A=[[1.0]], C=[[1.0]], Q=[[1469.1]], R=[[15099.0]],
        ...                initial="diffuse")
        >>> round(level.score(y, method=ss.ExtendedKalman(iterations=3)).value, 7)
        -633.4645636
    """

    iterations: int = None  # type: ignore[assignment]  # that of the scope
    scope: str = "step"

    references: ClassVar[tuple[str, ...]] = (
        "@article{bell1993, title={The iterated Kalman filter update as a Gauss-Newton method}, "
        "author={Bell, B. M. and Cathey, F. W.}, journal={IEEE Transactions on Automatic Control}, "
        "volume={38}, number={2}, pages={294--297}, year={1993}}",
    )

    def __post_init__(self) -> None:
        if self.scope not in ("step", "path"):
            todo = "Choose one of them."
            raise InputError(expected("scope", '"step" or "path"', repr(self.scope), todo))
        given: Any = self.iterations
        if given is None:
            object.__setattr__(self, "iterations", 50 if self._over else 1)
        read_count(self.iterations, name="iterations")

    def refusal(self, model: Any, data: Any) -> str | None:
        """Over paths, a family that is not Gaussian."""
        reason = super().refusal(model, data)
        return not_gaussian(model) if reason is None and self._over else reason

    @property
    def _plan(self) -> Plan:
        return Plan(Taylor(), Taylor(), 1 if self._over else self.iterations)

    @property
    def _over(self) -> bool:
        return self.scope == "path"


@dataclass(frozen=True, repr=False)
class Laplace(OverPaths):
    """The most probable path and the curvature there, for any differentiable density of y.

    Newton's method for the mode of p(z_1, ..., z_T given y), in steps that never fall: rows become
    pseudo-observations with the gradient and the curvature of log p(y_t given z_t), nonnegative
    definite, and transitions their tangents. The log-likelihood is Laplace's approximation about
    the mode. `filter` does the same row by row. Entries of y need no mean and no covariance.

    Args:
        iterations: Steps at the most; the search ends where the path stands still.

    Example:
        >>> Laplace(iterations=30)
        Laplace(iterations=30)

    Source: Durbin and Koopman (1997); Shephard and Pitt (1997).
    """

    iterations: int = 50

    references: ClassVar[tuple[str, ...]] = (
        "@article{durbin1997, title={Monte Carlo maximum likelihood estimation for non-Gaussian "
        "state space models}, author={Durbin, J. and Koopman, S. J.}, journal={Biometrika}, "
        "volume={84}, number={3}, pages={669--684}, year={1997}}",
    )
    asks_moments: ClassVar[bool] = False

    def __post_init__(self) -> None:
        read_count(self.iterations, name="iterations")

    @property
    def _plan(self) -> Plan:
        return ModePlan(Taylor(), Taylor(), self.iterations)

    @property
    def _over(self) -> bool:
        return True


@dataclass(frozen=True, repr=False)
class UnscentedKalman(Linearising):
    """2 n + 1 sigma points: the unscented Kalman filter and smoother.

    With alpha = 1, beta = 0 and kappa = max(0, 3 - n), the default, no weight is negative. A tiny
    alpha makes every covariance a difference of large numbers, and one that comes out negative is
    refused, never repaired.

    Args:
        alpha: How far the points lie from the centre.
        beta: More weight for the centre in covariances.
        kappa: Of lambda = alpha^2 (n + kappa) - n; max(0, 3 - n) if None.

    Example:
        >>> UnscentedKalman()
        UnscentedKalman(alpha=1.0, beta=0.0, kappa=None)

    Source: Julier and Uhlmann (2004); Wan and van der Merwe (2000).
    """

    alpha: float = 1.0
    beta: float = 0.0
    kappa: float | None = None

    references: ClassVar[tuple[str, ...]] = (
        "@article{julier2004, title={Unscented filtering and nonlinear estimation}, "
        "author={Julier, S. J. and Uhlmann, J. K.}, journal={Proceedings of the IEEE}, "
        "volume={92}, number={3}, pages={401--422}, year={2004}}",
    )

    def __post_init__(self) -> None:
        _read_number(self.alpha, "alpha")
        _read_number(self.beta, "beta")
        if self.kappa is not None:
            _read_number(self.kappa, "kappa")
        if self.alpha <= 0:
            todo = "Give a positive number; 1 is a good one."
            raise InputError(expected("alpha", "more than 0", f"{self.alpha}", todo))

    def refusal(self, model: Any, data: Any) -> str | None:
        """A kappa that leaves no points for this n."""
        reason = super().refusal(model, data)
        if reason is None and self.kappa is not None and model.latent.size + self.kappa <= 0:
            return (
                f"UnscentedKalman needs n + kappa > 0, and n is {model.latent.size} and kappa "
                f"{self.kappa}. Give a larger kappa, or use CubatureKalman."
            )
        return reason

    @property
    def _plan(self) -> Plan:
        rule = Unscented(self.alpha, self.beta, self.kappa)
        return Plan(rule, rule)


@dataclass(frozen=True, repr=False)
class CubatureKalman(Linearising):
    """2 n sigma points of equal weight: the cubature Kalman filter and smoother.

    Example:
        >>> CubatureKalman()
        CubatureKalman()

    Source: Arasaratnam and Haykin (2009).
    """

    references: ClassVar[tuple[str, ...]] = (
        "@article{arasaratnam2009, title={Cubature Kalman filters}, "
        "author={Arasaratnam, I. and Haykin, S.}, journal={IEEE Transactions on Automatic "
        "Control}, volume={54}, number={6}, pages={1254--1269}, year={2009}}",
    )

    @property
    def _plan(self) -> Plan:
        return Plan(Cubature(), Cubature())


@dataclass(frozen=True, repr=False)
class GaussHermiteKalman(Linearising):
    """order^n sigma points, exact for polynomials of degree 2 order - 1 in each state.

    Args:
        order: Points along each state.

    Example:
        >>> GaussHermiteKalman(order=5)
        GaussHermiteKalman(order=5)

    Source: Ito and Xiong (2000).
    """

    order: int = 3

    references: ClassVar[tuple[str, ...]] = (
        "@article{ito2000, title={Gaussian filters for nonlinear filtering problems}, "
        "author={Ito, K. and Xiong, K.}, journal={IEEE Transactions on Automatic Control}, "
        "volume={45}, number={5}, pages={910--927}, year={2000}}",
    )

    def __post_init__(self) -> None:
        read_count(self.order, name="order")

    def refusal(self, model: Any, data: Any) -> str | None:
        """More points than can be meant."""
        reason = super().refusal(model, data)
        if reason is None and self.order**model.latent.size > _MOST:
            return (
                f"GaussHermiteKalman takes order^n points, and {self.order}^{model.latent.size} "
                f"are more than {_MOST}. Use CubatureKalman, whose number is 2 n."
            )
        return reason

    @property
    def _plan(self) -> Plan:
        rule = GaussHermite(self.order)
        return Plan(rule, rule)


_MOST = 100_000


@dataclass(frozen=True, repr=False)
class PosteriorLinearisation(Linearising):
    """Linearises where the posterior is, and again: iterated posterior linearisation.

    In the filter, and in the likelihood, the emission is linearised at the posterior of its row.
    The smoother linearises transitions and emissions at the smoothed beliefs, over all of time at
    once, again and again.

    Args:
        rule: A method whose rule is used: CubatureKalman(), UnscentedKalman(), ...
        iterations: How often the emission is linearised in a row, and how often all rows are at
            the smoothed beliefs.

    Example:
        >>> PosteriorLinearisation(UnscentedKalman(), iterations=3).iterations
        3

    Source: Garcia-Fernandez, Svensson, Morelande and Saerkkae (2015); the smoother is that of
    Garcia-Fernandez, Svensson and Saerkkae (2017).
    """

    rule: Linearising = CubatureKalman()
    iterations: int = 5

    references: ClassVar[tuple[str, ...]] = (
        "@article{garciafernandez2015, title={Posterior linearization filter: principles and "
        "implementation using sigma points}, author={Garcia-Fernandez, A. F. and Svensson, L. and "
        "Morelande, M. R. and Saerkkae, S.}, journal={IEEE Transactions on Signal Processing}, "
        "volume={63}, number={20}, pages={5561--5573}, year={2015}}",
    )

    def __post_init__(self) -> None:
        read_count(self.iterations, name="iterations")
        if not isinstance(self.rule, Linearising) or isinstance(self.rule, PosteriorLinearisation):
            words = "CubatureKalman(), UnscentedKalman(), GaussHermiteKalman() or ExtendedKalman()"
            todo = "Give one of them, made."
            raise InputTypeError(expected("rule", words, f"{self.rule!r:.60}", todo))

    @property
    def _plan(self) -> Plan:
        inner = self.rule._plan
        return Plan(inner.transition, inner.emission, self.iterations)

    def smooth_keeping(
        self, model: Any, data: Sequences, generator: Generator, state: State | None, keep: str
    ) -> Smoothed:
        """All rows made linear at the smoothed beliefs, `iterations` times."""
        if linear(model) is not None:
            return super().smooth_keeping(model, data, generator, state, keep)
        with torch.no_grad():
            at = task(model, rows_of(data), self._begun(model, data, generator, state))
            value = run(model, self._plan, at)[0].sum(-1)
            rows = at_the_posterior(model, self._plan, at, self._rows(model, at))
            shown = Shown(data.lengths, data.index, data.univariate, keep, "approximate",
                          data.values)  # fmt: skip
            p = problem(rows, at)
            return record(p, shown, moments=(value, smooth_moments(p, keep=keep)[1]))


def _read_number(value: Any, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        got = type(value).__name__
        raise InputTypeError(expected(name, "a number", got, "Give a number."))
