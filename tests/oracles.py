"""The dumb oracle: a linear-Gaussian model written out as one joint Gaussian, and conditioned.

It imports nothing of the library on purpose. Nothing here is recursive in time: all states and
observations are stacked in one vector

    (z_1 .. z_T, y_1 .. y_T) = mean + load delta + error,    error ~ N(0, cov),   delta flat,

from z_t = A_t z_{t-1} + b_t + w_t, y_t = C_t z_t + d_t + v_t, where row t of A, b and Q acts on
the transition into z_t (row 0 is not used). The diffuse start is the exact limit k -> inf of
delta ~ N(0, k I), taken by splitting the observations into contrasts free of delta and the rest.

With `digits=60` the same lines run in mpmath numbers, for cases that float64 cannot decide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Moments:
    """Float64 moments of z (T, n), (T, n, n) and y (T, m), (T, m, m); an infinite variance is inf.

    `cross[t]` is Cov(z_{t+1}, z_t), (T - 1, n, n). `joint` is the covariance of all states
    stacked, (T n, T n), z_1 first.
    """

    mean: Array
    cov: Array
    cross: Array
    joint: Array
    y_mean: Array
    y_cov: Array


class DenseOracle:
    """One series under one linear-Gaussian model.

    Args:
        y: Observations (T, m); NaN is "not observed". Rows of NaN at the end are a forecast.
        A, Q, C, R: Matrices (n, n), (n, n), (m, n), (m, m), or with a leading T axis.
        b, d: Offsets (n,), (m,), or with a leading T axis. Fold inputs in: b_t = B u_t + b.
        m1, P1: Moments of z_1.
        diffuse: States with a flat prior, bool (n,), whose rows of P1 are then ignored; or a
            matrix (n, k) of directions added to N(m1, P1) with flat weights.
        digits: None for float64, or the number of decimal digits for mpmath.
    """

    def __init__(
        self,
        y: Any,
        A: Any,
        b: Any,
        Q: Any,
        C: Any,
        d: Any,
        R: Any,
        m1: Any,
        P1: Any,
        diffuse: Any = None,
        digits: int | None = None,
    ) -> None:
        self.field: _Float | _Mp = _Float() if digits is None else _Mp(digits)
        self.y = _plain(y)
        self.T, self.m = self.y.shape
        self.n = n = _plain(m1).shape[-1]
        directions, keep = np.zeros((n, 0)), np.ones(n)
        if diffuse is not None:
            directions = _plain(diffuse)
            if directions.ndim == 1:
                keep = 1.0 - directions
                directions = np.eye(n)[:, directions.astype(bool)]
        P1 = _plain(P1) * keep[:, None] * keep[None, :]
        with self.field.precision():
            self._stack(A, b, Q, C, d, R, m1, P1, directions)

    def _stack(
        self, A: Any, b: Any, Q: Any, C: Any, d: Any, R: Any, m1: Any, P1: Any, directions: Any
    ) -> None:
        T, n, m, number = self.T, self.n, self.m, self.field.number

        def rows(value: Any, rank: int) -> Array:
            value = number(value)
            return value if value.ndim == rank + 1 else np.stack([value] * T)

        A, Q, C, R = rows(A, 2), rows(Q, 2), rows(C, 2), rows(R, 2)
        b, d = rows(b, 1), rows(d, 1)
        mean, load = number(np.zeros((T, n))), number(np.zeros((T, n, directions.shape[1])))
        # (z_1 .. z_T) = mean + gain (z_1 - m1, w_2 .. w_T)
        gain, noise = number(np.zeros((T, n, T, n))), number(np.zeros((T, n, T, n)))
        eye = number(np.eye(n))
        mean[0], load[0] = number(m1), number(directions)
        noise[0, :, 0], gain[0, :, 0] = number(P1), eye
        for t in range(1, T):
            mean[t] = A[t] @ mean[t - 1] + b[t]
            load[t] = A[t] @ load[t - 1]
            noise[t, :, t] = Q[t]
            gain[t, :, t] = eye
            for s in range(t):
                gain[t, :, s] = A[t] @ gain[t - 1, :, s]
        g = gain.reshape(T * n, T * n)
        z_cov = g @ noise.reshape(T * n, T * n) @ g.T
        read = number(np.zeros((T, m, T, n)))
        y_noise = number(np.zeros((T, m, T, m)))
        for t in range(T):
            read[t, :, t] = C[t]
            y_noise[t, :, t] = R[t]
        c = read.reshape(T * m, T * n)
        both = np.concatenate([number(np.eye(T * n)), c])  # (z, y) = both z + (0, d + v)
        self.mean = both @ mean.reshape(T * n)
        self.mean[T * n :] = self.mean[T * n :] + d.reshape(T * m)
        self.load = both @ load.reshape(T * n, -1)
        self.cov = both @ z_cov @ both.T
        self.cov[T * n :, T * n :] += y_noise.reshape(T * m, T * m)

    def _split(self, observed: Array) -> tuple[Any, ...]:
        """Observed entries as (those that fix delta) and (contrasts free of it)."""
        which = self.T * self.n + np.flatnonzero(observed.reshape(-1))
        number = self.field.number
        residual = number(np.nan_to_num(self.y.reshape(-1))[which - self.T * self.n])
        residual = residual - self.mean[which]
        left, size, right = self.field.svd(self.load[which])
        r = len(size)
        return which, residual, left[:, :r], left[:, r:], size, right[:, :r], right[:, r:]

    def _observed(self, rows: int | None) -> Array:
        """What is observed in the first `rows` rows (all rows where None)."""
        observed = ~np.isnan(self.y)
        observed[self.T if rows is None else rows :] = False
        return observed

    def num_resolved(self, rows: int | None = None) -> int:
        """The diffuse directions that the observations resolve."""
        with self.field.precision():
            return len(self._split(self._observed(rows))[4])

    def log_likelihood(self, rows: int | None = None, diffuse_constant: bool = True) -> float:
        """log p(y) of the first `rows` rows.

        With a diffuse start it is the limit of log p(y) + (r / 2) log k, r directions resolved.
        The constant log(2 pi) / 2 is counted for every observed entry, or, with
        `diffuse_constant=False`, for all but r of them.
        """
        with self.field.precision():
            which, residual, _, free, size, _, _ = self._split(self._observed(rows))
            cov = free.T @ self.cov[np.ix_(which, which)] @ free
            e = free.T @ residual
            log, pi = self.field.log, self.field.pi
            count = len(which) - (0 if diffuse_constant else len(size))
            total = -count * log(2 * pi) / 2 - sum(log(s) for s in size)
            if len(e):
                total = total - self.field.logdet(cov) / 2 - e @ self.field.solve(cov, e) / 2
            return float(total)

    def increments(self, diffuse_constant: bool = True) -> Array:
        """log p(y_t | y_1 .. y_{t-1}), (T,), as differences of log-likelihoods."""
        totals = [self.log_likelihood(t, diffuse_constant) for t in range(self.T + 1)]
        return np.diff(np.array(totals))

    def posterior(self, rows: int | None = None) -> tuple[Array, Array]:
        """Mean and covariance of all of (z, y) given the first `rows` rows of y.

        Along directions that nothing observed resolves the mean is the prior's and the
        covariance is infinite (with its sign).
        """
        with self.field.precision():
            which, residual, fixing, free, size, known, unknown = self._split(self._observed(rows))
            # delta = known (fixing' (residual - error) / size), so everything else is
            # load delta + error = through residual + (error - through error_y), error_y given free
            through = (self.load @ known / size) @ fixing.T
            s_gy, s_yy = self.cov[:, which], self.cov[np.ix_(which, which)]
            cross = (s_gy - through @ s_yy) @ free
            cov = self.cov - through @ s_gy.T - s_gy @ through.T + through @ s_yy @ through.T
            mean = self.mean + through @ residual
            if free.shape[1]:
                inner = free.T @ s_yy @ free
                mean = mean + cross @ self.field.solve(inner, free.T @ residual)
                cov = cov - cross @ self.field.solve(inner, cross.T)
            flat = np.asarray((self.load @ unknown) @ (self.load @ unknown).T, dtype=np.float64)
            mean, cov = mean.astype(np.float64), cov.astype(np.float64)
        scale = np.abs(flat).max(initial=0.0)
        free_entries = np.abs(flat) > 1e-9 * scale
        cov[free_entries] = np.sign(flat[free_entries]) * np.inf
        return mean, cov

    def _moments(self, mean: Array, cov: Array) -> Moments:
        T, n, m = self.T, self.n, self.m
        z = T * n
        zz = cov[:z, :z].reshape(T, n, T, n)
        yy = cov[z:, z:].reshape(T, m, T, m)
        return Moments(
            mean=mean[:z].reshape(T, n),
            cov=np.stack([zz[t, :, t] for t in range(T)]),
            cross=np.array([zz[t + 1, :, t] for t in range(T - 1)]).reshape(T - 1, n, n),
            joint=cov[:z, :z],
            y_mean=mean[z:].reshape(T, m),
            y_cov=np.stack([yy[t, :, t] for t in range(T)]),
        )

    def smoothed(self) -> Moments:
        """Given all of y: the smoother, the imputation of missing entries (observed ones have
        their own value and no variance), and, on trailing rows of NaN, the forecast."""
        return self._moments(*self.posterior())

    def filtered(self) -> Moments:
        """Row t given y_1 .. y_t; `cross` and `joint` are not meant (they are given all of y)."""
        return self._by_row(lambda t: t + 1)

    def predicted(self) -> Moments:
        """Row t given y_1 .. y_{t-1}: z one step ahead, and y one step ahead."""
        return self._by_row(lambda t: t)

    def _by_row(self, known: Any) -> Moments:
        last = self.smoothed()
        each = [self._moments(*self.posterior(known(t))) for t in range(self.T)]
        return Moments(
            mean=np.stack([each[t].mean[t] for t in range(self.T)]),
            cov=np.stack([each[t].cov[t] for t in range(self.T)]),
            cross=last.cross,
            joint=last.joint,
            y_mean=np.stack([each[t].y_mean[t] for t in range(self.T)]),
            y_cov=np.stack([each[t].y_cov[t] for t in range(self.T)]),
        )

    def forecast(self, horizon: int) -> Moments:
        """The last `horizon` rows of `smoothed`: append that many rows of NaN to y first."""
        if not np.isnan(self.y[self.T - horizon :]).all():
            raise ValueError("the forecast's rows of y must be NaN")
        s = self.smoothed()
        k = self.T - horizon
        joint = s.joint[k * self.n :, k * self.n :]
        return Moments(s.mean[k:], s.cov[k:], s.cross[k:], joint, s.y_mean[k:], s.y_cov[k:])


def _plain(value: Any) -> Array:
    """Float64, from numbers, arrays or tensors."""
    return np.asarray(value.tolist() if hasattr(value, "tolist") else value, dtype=np.float64)


class _Float:
    """Linear algebra in float64."""

    pi = np.pi
    log = staticmethod(np.log)

    def precision(self) -> Any:
        return mpmath.workdps(15)

    def number(self, value: Any) -> Array:
        return np.array(_plain(value))

    def svd(self, matrix: Array) -> tuple[Array, Array, Array]:
        left, size, right = np.linalg.svd(matrix, full_matrices=True)
        return left, size[size > 1e-10 * size.max(initial=0.0)], right.T

    def solve(self, matrix: Array, right: Array) -> Array:
        return np.linalg.solve(matrix, right)

    def logdet(self, matrix: Array) -> float:
        return 2 * float(np.log(np.diagonal(np.linalg.cholesky(matrix))).sum())


class _Mp:
    """The same in mpmath numbers, held in object arrays."""

    log = staticmethod(mpmath.log)

    def __init__(self, digits: int) -> None:
        self.digits = digits

    @property
    def pi(self) -> Any:
        return +mpmath.pi

    def precision(self) -> Any:
        return mpmath.workdps(self.digits)

    def number(self, value: Any) -> Array:
        value = np.asarray(value)
        flat = [x if isinstance(x, mpmath.mpf) else mpmath.mpf(float(x)) for x in value.reshape(-1)]
        out = np.empty(len(flat), dtype=object)
        out[:] = flat
        return out.reshape(value.shape)

    def svd(self, matrix: Array) -> tuple[Array, Array, Array]:
        rows, cols = matrix.shape
        eye_left, eye_right = self.number(np.eye(rows)), self.number(np.eye(cols))
        if rows == 0 or cols == 0:
            return eye_left, eye_left[0, :0] if rows else self.number(np.zeros(0)), eye_right
        square = self.number(np.zeros((max(rows, cols),) * 2))  # mpmath's svd is surest on squares
        square[:rows, :cols] = matrix
        left, size, right = mpmath.svd_r(mpmath.matrix(square.tolist()))
        sizes = _array(size).reshape(-1)
        keep = [s for s in sizes if s > mpmath.mpf(10) ** (-self.digits // 2) * max(sizes)]
        r = len(keep)
        u, v = _array(left)[:rows, :r], _array(right).T[:cols, :r]
        kept = np.empty(r, dtype=object)
        kept[:] = keep
        return self._complete(u, eye_left), kept, self._complete(v, eye_right)

    def _complete(self, basis: Array, eye: Array) -> Array:
        """Orthonormal columns extended to a whole basis (Gram-Schmidt, twice, largest first)."""
        columns = [basis[:, j] for j in range(basis.shape[1])]
        while len(columns) < len(eye):
            rest = [e - sum((c * (c @ e) for c in columns), 0 * e) for e in eye]
            best = max(rest, key=lambda x: x @ x)
            best = best - sum((c * (c @ best) for c in columns), 0 * best)
            columns.append(best / mpmath.sqrt(best @ best))
        return np.stack(columns, 1) if columns else eye

    def solve(self, matrix: Array, right: Array) -> Array:
        columns = right.reshape(len(right), -1)
        lower, order = mpmath.mp.LU_decomp(mpmath.matrix(matrix.tolist()))
        out = np.empty(columns.shape, dtype=object)
        for j in range(columns.shape[1]):
            b = mpmath.mp.L_solve(lower, mpmath.matrix(list(columns[:, j])), order)
            out[:, j] = _array(mpmath.mp.U_solve(lower, b)).reshape(-1)[: len(right)]
        return out.reshape(right.shape)

    def logdet(self, matrix: Array) -> Any:
        lower = mpmath.cholesky(mpmath.matrix(matrix.tolist()))
        return 2 * sum(mpmath.log(lower[i, i]) for i in range(len(matrix)))


def _array(matrix: Any) -> Array:
    out = np.empty((matrix.rows, matrix.cols), dtype=object)
    for i in range(matrix.rows):
        for j in range(matrix.cols):
            out[i, j] = matrix[i, j]
    return out
