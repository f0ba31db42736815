"""Components of structural time-series models, and their sum.

Each component is an LDS with held and tied entries, zero observation noise and one output; the
variances are found at `fit`. Harvey (1989), Durbin and Koopman (2012, section 3.2).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import torch

from statespace.errors import InputError, InputTypeError, expected
from statespace.parameters import Fixed, Param, Varying
from statespace.parameters.read import read_array

if TYPE_CHECKING:
    from statespace.models.lds.model import LDS

__all__ = ["Structural"]


class Structural:
    """Constructors of components; `a + b` is the model of the sum of two independent ones.

    In a sum A and Q are block-diagonal, C = [C_a, C_b], states keep their order, offsets and the
    effects of inputs add, and R is learned. A component alone has R = 0; give it observation
    noise with `component.replace(R=None)`, and take it out of a sum with
    `(a + b).replace(R=Fixed([[0.0]]))`.

    Where one part has values for a parameter and the other waits for data, the sum waits for
    data.
    """

    @classmethod
    def local_level(cls, *, dtype: torch.dtype = torch.float64) -> LDS:
        """A random walk: level_t = level_{t-1} + w_t. Diffuse start.

        Example:
            >>> from statespace.models import LDS
            >>> nile = LDS.local_level().replace(R=None)  # with observation noise, both learned
            >>> nile.num_params
            2
        """
        return _component(cls, [[1.0]], [1.0], _variances(1, 1), "diffuse", dtype)

    @classmethod
    def local_trend(cls, *, dtype: torch.dtype = torch.float64) -> LDS:
        """A level and its slope, each with a noise of its own. Diffuse start.

        level_t = level_{t-1} + slope_{t-1} + w_t, slope_t = slope_{t-1} + w'_t.
        """
        transition = [[1.0, 1.0], [0.0, 1.0]]
        return _component(cls, transition, [1.0, 0.0], _variances(2, 2), "diffuse", dtype)

    @classmethod
    def seasonal(cls, period: int, *, dtype: torch.dtype = torch.float64) -> LDS:
        """Effects of `period` seasons that sum to zero, up to one noise. Diffuse start.

        s_t = -(s_{t-1} + ... + s_{t-period+1}) + w_t; the state holds period - 1 of them.

        Args:
            period: Steps in one round, at least 2.
            dtype: torch.float64 or torch.float32.

        Example:
            >>> from statespace.models import LDS
            >>> model = LDS.local_level() + LDS.seasonal(12)
            >>> model.latent_dim, model.num_params  # level, 11 seasons; two variances and R
            (12, 3)
        """
        size = _whole("period", period, 2) - 1
        return _component(
            cls,
            _companion([-1.0] * size, size),
            [1.0] + [0.0] * (size - 1),
            _variances(size, 1),
            "diffuse",
            dtype,
        )

    @classmethod
    def cycle(
        cls,
        period: float | None = None,
        *,
        damped: bool = True,
        dtype: torch.dtype = torch.float64,
    ) -> LDS:
        """A stochastic cycle: a rotation by the angle l = 2 pi / period, shrunk by rho.

        A = rho [[cos l, sin l], [-sin l, cos l]], Q a multiple of the identity. Damped, period and
        rho are learned (through the two tied entries of A) and the start is stationary; undamped,
        rho = 1, the period is held and the start is diffuse.

        Args:
            period: Steps in one round, above 2: where learning starts, or the held value if
                undamped. Found from the periodogram at `fit` if left out.
            damped: Whether rho is learned.
            dtype: torch.float64 or torch.float32.

        Example:
            >>> from statespace.models import LDS
            >>> LDS.cycle(period=4, damped=False).A.round(decimals=6).tolist()
            [[0.0, 1.0], [-1.0, 0.0]]
        """
        if period is not None and not (isinstance(period, int | float) and period > 2):
            raise InputError(
                expected("period", "a number above 2", repr(period), "Give steps per round.")
            )
        if period is None and not damped:
            raise InputError(
                expected(
                    "period",
                    "a number: the period of an undamped cycle is held",
                    "none",
                    "Give period=, or damped=True.",
                )
            )
        rho, angle = (0.9 if damped else 1.0), 2 * math.pi / (period or 4.0)
        a, c = rho * math.cos(angle), rho * math.sin(angle)
        rotation: Any = [[a, c], [-c, a]]
        if damped:
            rotation = Param(rotation, labels=[[1, 2], [-2, 1]], start=period is not None)
        noise = Param(structure="scalar")
        initial = "stationary" if damped else "diffuse"
        return _component(cls, rotation, [1.0, 0.0], noise, initial, dtype)

    @classmethod
    def arma(cls, p: int, q: int = 0, *, dtype: torch.dtype = torch.float64) -> LDS:
        """An ARMA(p, q) process with mean zero, in the form of Hamilton (1994, chapter 13).

        x_t = phi_1 x_{t-1} + ... + phi_p x_{t-p} + w_t, y_t = x_t + theta_1 x_{t-1} + ... +
        theta_q x_{t-q}: phi stands in the first row of A, theta in C. Stationary start.
        """
        p, q = _whole("p", p, 0), _whole("q", q, 0)
        if p + q == 0:
            raise InputError(
                expected("p, q", "p + q of at least 1", "0", "White noise is R: leave it out.")
            )
        size = max(p, q + 1)
        free = torch.zeros(size, size, dtype=torch.bool)
        free[0, :p] = True
        transition: Any = _companion([0.0] * size, size)
        if p:
            transition = Param(transition, free=free, start=False)
        emission: Any = torch.eye(1, size, dtype=torch.float64)
        if q:
            theta = torch.zeros(1, size, dtype=torch.bool)
            theta[0, 1 : q + 1] = True
            emission = Param(emission, free=theta)
        return _component(cls, transition, emission, _variances(size, 1), "stationary", dtype)

    @classmethod
    def regression(
        cls,
        num_inputs: int | None = None,
        *,
        columns: Any = None,
        time_varying: bool = False,
        dtype: torch.dtype = torch.float64,
    ) -> LDS:
        """The effect of regressors on y.

        With `num_inputs`, they are the inputs u_t of the verbs and the coefficients are D, without
        any state. With `columns`, they are rows of C and the coefficients are the state, with a
        diffuse start: constant, or random walks if `time_varying`.

        Args:
            num_inputs: p, how many inputs there are.
            columns: (T, k), row t for y_t; T + horizon rows to forecast.
            time_varying: Whether coefficients in the state walk, each with its own variance.
            dtype: torch.float64 or torch.float32.

        Example:
            >>> from statespace.models import LDS
            >>> model = LDS.local_level() + LDS.regression(2)
            >>> model.latent_dim, model.input_dim, tuple(model.slot("D").event)
            (1, 2, (1, 2))
        """
        if (num_inputs is None) == (columns is None) or (time_varying and columns is None):
            raise InputError(
                expected(
                    "num_inputs, columns",
                    "one of the two (and columns= for coefficients that vary in time)",
                    "both" if columns is not None else "neither, or time_varying without columns",
                    "Give regression(k) for k inputs, or regression(columns=X).",
                )
            )
        zero = Fixed([[0.0]])
        if num_inputs is not None:
            k = _whole("num_inputs", num_inputs, 1)
            return _lds(cls)(0, 1, k, d=Fixed([0.0]), R=zero, initial="diffuse", dtype=dtype)
        x = read_array("columns", columns)
        if x.dim() < 2:
            raise InputError(
                expected("columns", "shape (T, k)", f"{tuple(x.shape)}", "Give a matrix.")
            )
        k = x.shape[-1]
        walk = _variances(k, k if time_varying else 0)
        eye = torch.eye(k, dtype=torch.float64)
        return _component(cls, eye, Varying(x.unsqueeze(-2)), walk, "diffuse", dtype)


def _lds(cls: type[Any]) -> type[LDS]:
    return cast("type[LDS]", cls)


def _component(
    cls: type[Any],
    transition: Any,
    emission: Any,
    noise: Param,
    initial: str,
    dtype: torch.dtype,
) -> LDS:
    """One output, no offset, R = 0; what is bare is held."""
    if isinstance(emission, list):
        emission = [emission]
    held = (Fixed, Param, Varying)
    transition = transition if isinstance(transition, held) else Fixed(transition)
    emission = emission if isinstance(emission, held) else Fixed(emission)
    n = len(noise.free) if noise.free is not None else 2
    return _lds(cls)(
        n,
        1,
        A=transition,
        C=emission,
        d=Fixed([0.0]),
        Q=noise,
        R=Fixed([[0.0]]),
        initial=initial,
        dtype=dtype,
    )


def _variances(size: int, learned: int) -> Param:
    """A diagonal Q whose first variances are learned, the others zero."""
    return Param(free=torch.diag(torch.arange(size) < learned))


def _companion(first_row: list[float], size: int) -> torch.Tensor:
    """The given first row above a shift by one."""
    a = torch.diag(torch.ones(size - 1, dtype=torch.float64), -1)
    a[0] = torch.tensor(first_row, dtype=torch.float64)
    return a


def _whole(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputTypeError(
            expected(name, "an integer", f"{type(value).__name__} {value!r}", "Give an integer.")
        )
    if value < least:
        raise InputError(expected(name, f"at least {least}", str(value), "Give a larger one."))
    return value
