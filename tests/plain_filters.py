"""Extended and unscented filters as textbooks write them: numpy, loops, covariances, inverses.

One series. Densities are given as functions of one z: a mean and a covariance. Nothing of the
package is imported.
"""

from __future__ import annotations

import numpy as np


def difference(f, z, step=1e-6):
    """The Jacobian of f at z by central differences of fourth order."""
    columns = []
    for i in range(len(z)):
        e = np.zeros(len(z))
        e[i] = step * max(1.0, abs(z[i])) * 100
        columns.append(
            (f(z - 2 * e) - 8 * f(z - e) + 8 * f(z + e) - f(z + 2 * e)) / (12 * e[i])
        )  # fmt: skip
    return np.stack(columns, -1)


def unscented_points(m, P, kappa):
    n = len(m)
    L = (
        np.linalg.cholesky((n + kappa) * P)
        if np.linalg.eigvalsh(P)[0] > 1e-13
        else root(P, n + kappa)
    )
    points = [m] + [m + L[:, i] for i in range(n)] + [m - L[:, i] for i in range(n)]
    weights = [kappa / (n + kappa)] + [0.5 / (n + kappa)] * (2 * n)
    return np.array(points), np.array(weights)


def root(P, scale):
    """A Cholesky factor of a singular P, by rows."""
    n = len(P)
    L = np.zeros((n, n))
    for j in range(n):
        left = P[j, j] - L[j, :j] @ L[j, :j]
        L[j, j] = np.sqrt(left) if left > 1e-14 else 0.0
        for i in range(j + 1, n):
            if L[j, j]:
                L[i, j] = (P[i, j] - L[i, :j] @ L[j, :j]) / L[j, j]
    return np.sqrt(scale) * L


class Answer:
    """Rows of filtered and predicted moments, moments of y and increments."""

    def __init__(self):
        self.mean, self.cov, self.before, self.before_cov = [], [], [], []
        self.y_mean, self.y_cov, self.increments = [], [], []


def condition(m, P, y, seen, y_mean, S, cross, apart):
    """N(m, P) given the entries of y that were seen; and their log density."""
    if not seen.any():
        return m, P, 0.0
    r = apart(y, y_mean)[seen]
    S, cross = S[np.ix_(seen, seen)], cross[:, seen]
    inverse = np.linalg.inv(S)
    density = -0.5 * (r @ inverse @ r + np.linalg.slogdet(2 * np.pi * S)[1])
    return m + cross @ inverse @ r, P - cross @ inverse @ cross.T, density


def extended(model, y, iterations=1):
    """`model` has m1, P1, g(z, t), Q(z, t), h(z, t), R(z, t) and apart(y, mean)."""
    out, m, P = Answer(), model.m1, model.P1
    for t in range(len(y)):
        if t:
            G = difference(lambda z, t=t: model.g(z, t), m)
            m, P = model.g(m, t), G @ P @ G.T + model.Q(m, t)
        seen = ~np.isnan(y[t])
        before, before_cov, at = m, P, m
        for i in range(iterations if seen.any() else 1):
            H, R, f = difference(lambda z, t=t: model.h(z, t), at), model.R(at, t), model.h(at, t)
            S = H @ before_cov @ H.T + R
            if i == 0:
                ahead = f, S
            moved = np.where(seen, model.apart(y[t], f), 0.0)
            # y beside h at the point, less the step from the point back to the prediction
            r = moved - H @ (before - at)
            m, P, density = condition(before, before_cov, r, seen, np.zeros(len(r)), S,
                                      before_cov @ H.T, lambda a, b: a - b)  # fmt: skip
            at = m
        _keep(out, m, P, before, before_cov, *ahead, density)
    return out


def unscented(model, y, kappa, shift=0.0):
    """The same with sigma points, drawn again after the prediction; kappa 0 is the cubature rule.

    `shift` is added to the weight of the centre in covariances.
    """
    out, m, P = Answer(), model.m1, model.P1
    for t in range(len(y)):
        if t:
            z, w = unscented_points(m, P, kappa)
            g = np.array([model.g(x, t) for x in z])
            noise = sum(a * model.Q(x, t) for a, x in zip(w, z, strict=True))
            m = w @ g
            P = sum(a * np.outer(v, v) for a, v in zip(w, g - m, strict=True)) + noise
            P = P + shift * np.outer(g[0] - m, g[0] - m)
        seen = ~np.isnan(y[t])
        z, w = unscented_points(m, P, kappa)
        h = np.array([model.h(x, t) for x in z])
        centre = model.h(m, t)
        h = centre + np.array([model.apart(v, centre) for v in h])
        y_mean = w @ h
        S = sum(a * np.outer(v, v) for a, v in zip(w, h - y_mean, strict=True))
        S = S + shift * np.outer(h[0] - y_mean, h[0] - y_mean)
        S = S + sum(a * model.R(x, t) for a, x in zip(w, z, strict=True))
        cross = sum(a * np.outer(x - m, v) for a, x, v in zip(w, z, h - y_mean, strict=True))
        before, before_cov = m, P
        m, P, density = condition(m, P, y[t], seen, y_mean, S, cross, model.apart)
        _keep(out, m, P, before, before_cov, y_mean, S, density)
    return out


def _keep(out, m, P, before, before_cov, y_mean, S, density):
    for row, value in zip(
        (out.mean, out.cov, out.before, out.before_cov, out.y_mean, out.y_cov, out.increments),
        (m, P, before, before_cov, y_mean, S, density),
        strict=True,
    ):
        row.append(value)


def rts(model, filtered, y, gains):
    """Backward: m + J (m' - before'), P + J (P' - before') J', J = gain of the row after."""
    mean, cov = [filtered.mean[-1]], [filtered.cov[-1]]
    for t in range(len(y) - 2, -1, -1):
        J = gains[t + 1] @ np.linalg.inv(filtered.before_cov[t + 1])
        mean.append(filtered.mean[t] + J @ (mean[-1] - filtered.before[t + 1]))
        cov.append(filtered.cov[t] + J @ (cov[-1] - filtered.before_cov[t + 1]) @ J.T)
    return np.array(mean[::-1]), np.array(cov[::-1])


def extended_gains(model, filtered):
    """Cov(z_{t-1}, z_t given y before t), by row t."""
    out = [None]
    for t in range(1, len(filtered.mean)):
        G = difference(lambda z, t=t: model.g(z, t), filtered.mean[t - 1])
        out.append(filtered.cov[t - 1] @ G.T)
    return out


def unscented_gains(model, filtered, kappa):
    out = [None]
    for t in range(1, len(filtered.mean)):
        m, P = filtered.mean[t - 1], filtered.cov[t - 1]
        z, w = unscented_points(m, P, kappa)
        g = np.array([model.g(x, t) for x in z])
        g_mean = w @ g
        out.append(sum(a * np.outer(x - m, v) for a, x, v in zip(w, z, g - g_mean, strict=True)))
    return out
