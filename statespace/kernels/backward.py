"""One row of the backward recursion, all lanes at once: r_t, N_t and what follows from them.

With an observation absorbed by the gain k over its variance s, and r, N after it,

    u = e / s - k' r      w = N k      D = 1 / s + k' w
    r- = r + c u          N- = N + c c' D - c w' - w c'

and over a transition r <- A' r-, N <- A' N- A (de Jong 1989; Koopman and Shephard 1992; Durbin and
Koopman 2012, section 6.4, for scalar observations). Then

    z_t | y ~ x_f + P_f r, P_f - P_f N P_f;    Cov(z_{t+1}, z_t) = A V + Q (r- x' - N- A P_f)
    dA = r- x' - N- A P_f      dQ = (r- r-' - N-) / 2      db = r-
    dC = u x' - k + P w        dR = (u^2 - D) / 2          dd = u

Neither Q nor R nor the start is inverted. N and P are packed triangles; r, x and e have k columns,
over which products are summed.
"""

from __future__ import annotations

from statespace.kernels.compiling import called, inner
from statespace.kernels.factor import filled, pk
from statespace.kernels.lanes import load, positive, splat_at, store, width

__all__ = [
    "absorb_back",
    "absorb_dense",
    "gather_move",
    "less_columns",
    "move_back",
    "place_cov",
    "place_cross",
    "state_back",
    "times_a",
    "times_cov",
]


@inner
def state_back(lanes, z, a, follows, xf, pf, back):
    """Moved = A' r, x = x_f + P_f A' r; x = x_f where no row follows."""
    w = width(lanes)
    n, k = z.n, z.k
    r, moved, x = back.r, back.moved, back.x
    zero = filled(lanes, r, 0.0)
    for i in range(n):
        for col in range(k):
            value = zero
            if follows:
                for j in range(n):
                    value = value + splat_at(lanes, a, j * n + i) * load(
                        lanes, r, (j * k + col) * w
                    )
            store(lanes, moved, (i * k + col) * w, value)
    for i in range(n):
        for col in range(k):
            value = load(lanes, xf, (i * k + col) * w)
            if follows:
                for j in range(n):
                    part = load(lanes, moved, (j * k + col) * w)
                    value = value + load(lanes, pf, (i * n + j) * w) * part
            store(lanes, x, (i * k + col) * w, value)


@inner
def times_a(lanes, a, n, big, by_a):
    """by_a = N A, (n, n)."""
    w = width(lanes)
    for i in range(n):
        for j in range(n):
            value = filled(lanes, big, 0.0)
            for h in range(n):
                value = value + load(lanes, big, (i * n + h) * w) * splat_at(lanes, a, h * n + j)
            store(lanes, by_a, (i * n + j) * w, value)


@inner
def times_cov(lanes, n, by_a, pf, out):
    """Out = by_a P_f, (n, n)."""
    w = width(lanes)
    for i in range(n):
        for j in range(n):
            value = load(lanes, by_a, i * n * w) * load(lanes, pf, j * w)
            for h in range(1, n):
                part = load(lanes, pf, (h * n + j) * w)
                value = value + load(lanes, by_a, (i * n + h) * w) * part
            store(lanes, out, (i * n + j) * w, value)


@called
def gather_move(lanes, n, k, back):
    """Adds r- x' - N- A P_f to da (n, n), and r- r-' - N- to dq, packed; r-, N- of the next row."""
    w = width(lanes)
    r, big, x, product, da, dq = back.r, back.big, back.x, back.product, back.da, back.dq
    for i in range(n):
        for j in range(n):
            value = load(lanes, da, (i * n + j) * w) - load(lanes, product, (i * n + j) * w)
            for col in range(k):
                left, right = load(lanes, r, (i * k + col) * w), load(lanes, x, (j * k + col) * w)
                value = value + left * right
            store(lanes, da, (i * n + j) * w, value)
        for j in range(i + 1):
            value = load(lanes, dq, pk(i, j) * w) - load(lanes, big, (i * n + j) * w)
            for col in range(k):
                left, right = load(lanes, r, (i * k + col) * w), load(lanes, r, (j * k + col) * w)
                value = value + left * right
            store(lanes, dq, pk(i, j) * w, value)


@inner
def move_back(lanes, a, n, by_a, big):
    """N <- A' (N A)."""
    w = width(lanes)
    zero = filled(lanes, big, 0.0)
    for i in range(n):
        for j in range(i + 1):
            value = zero
            for h in range(n):
                value = value + splat_at(lanes, a, h * n + i) * load(lanes, by_a, (h * n + j) * w)
            store(lanes, big, (i * n + j) * w, value)
            store(lanes, big, (j * n + i) * w, value)


@called
def place_cov(lanes, n, k, pf, back):
    """P_f - P_f N P_f and the spread of columns 1 .. of x, packed; a negative diagonal is kept."""
    w = width(lanes)
    big, x, by_p, cov = back.big, back.x, back.by_a, back.cov
    zero = filled(lanes, x, 0.0)
    for i in range(n):
        for j in range(n):
            value = zero
            for h in range(n):
                part = load(lanes, pf, (h * n + j) * w)
                value = value + load(lanes, big, (i * n + h) * w) * part
            store(lanes, by_p, (i * n + j) * w, value)
    for i in range(n):
        for j in range(i + 1):
            value = load(lanes, pf, (i * n + j) * w)
            for h in range(n):
                part = load(lanes, pf, (i * n + h) * w)
                value = value - part * load(lanes, by_p, (h * n + j) * w)
            for col in range(1, k):
                left, right = load(lanes, x, (i * k + col) * w), load(lanes, x, (j * k + col) * w)
                value = value + left * right
            store(lanes, cov, (i * n + j) * w, value)
            store(lanes, cov, (j * n + i) * w, value)


@inner
def less_columns(lanes, n, k, r, x, product):
    """Product <- r- x' over columns 1 .. less product = N- A P_f."""
    w = width(lanes)
    for i in range(n):
        for j in range(n):
            value = filled(lanes, x, 0.0) - load(lanes, product, (i * n + j) * w)
            for col in range(1, k):
                left, right = load(lanes, r, (i * k + col) * w), load(lanes, x, (j * k + col) * w)
                value = value + left * right
            store(lanes, product, (i * n + j) * w, value)


@called
def place_cross(lanes, a, q, n, cov, product, cross):
    """A V + Q product, with the product of `less_columns`."""
    w = width(lanes)
    for i in range(n):
        for j in range(n):
            value = filled(lanes, cov, 0.0)
            for h in range(n):
                value = value + splat_at(lanes, a, i * n + h) * load(lanes, cov, (h * n + j) * w)
                part = load(lanes, product, (h * n + j) * w)
                value = value + splat_at(lanes, q, i * n + h) * part
            store(lanes, cross, (i * n + j) * w, value)


@called
def absorb_back(lanes, row, m, n, k, back, big_too, score):
    """Takes r, N back over a row of observations; leaves u (m, k).

    Means alone do without N (`big_too` false). With `score`, for independent noise, adds to dc
    (m, n) and to the diagonal of dr (packed), and takes P (P_f on entry) back too.
    """
    w = width(lanes)
    r, big, x, p, nk, us = back.r, back.big, back.x, back.p, back.nk, back.u
    c, gains, inverse, e, dc, dr = row.c, row.gains, row.inverse, row.e, back.dc, back.dr
    zero, one = filled(lanes, r, 0.0), filled(lanes, r, 1.0)
    for turn in range(m):
        i = m - 1 - turn
        over = load(lanes, inverse, (i) * w)
        g = (i * n) * w
        spread = over
        if big_too:
            for a in range(n):
                value = zero
                for b in range(n):
                    value = value + load(lanes, big, (a * n + b) * w) * load(
                        lanes, gains, g + b * w
                    )
                store(lanes, nk, a * w, value)
                spread = spread + load(lanes, gains, g + a * w) * value
        for col in range(k):
            u = load(lanes, e, (i * k + col) * w) * over
            for a in range(n):
                u = u - load(lanes, gains, g + a * w) * load(lanes, r, (a * k + col) * w)
            store(lanes, us, (i * k + col) * w, u)
            for a in range(n):
                at = (a * k + col) * w
                store(lanes, r, at, load(lanes, r, at) + load(lanes, c, (i * n + a) * w) * u)
        if score:
            s = positive(over, one / over, zero)
            value = zero - spread
            for col in range(k):
                u = load(lanes, us, (i * k + col) * w)
                value = value + u * u
            at = pk(i, i) * w
            store(lanes, dr, at, load(lanes, dr, at) + positive(over, value, zero))
            for a in range(n):
                ga = load(lanes, gains, g + a * w)
                value = load(lanes, dc, (i * n + a) * w) - ga
                for b in range(n):
                    value = value + load(lanes, p, (a * n + b) * w) * load(lanes, nk, b * w)
                for col in range(k):
                    u = load(lanes, us, (i * k + col) * w)
                    value = value + u * load(lanes, x, (a * k + col) * w)
                store(lanes, dc, (i * n + a) * w, value)
            for a in range(n):
                ga = load(lanes, gains, g + a * w) * s
                for b in range(n):
                    at = (a * n + b) * w
                    store(lanes, p, at, load(lanes, p, at) + ga * load(lanes, gains, g + b * w))
        if big_too:
            for a in range(n):
                ca, na = load(lanes, c, (i * n + a) * w), load(lanes, nk, a * w)
                own = ca * spread - na
                for b in range(a + 1):
                    at = (a * n + b) * w
                    cb, nb = load(lanes, c, (i * n + b) * w), load(lanes, nk, b * w)
                    value = load(lanes, big, at) + (own * cb - ca * nb)
                    store(lanes, big, at, value)
                    store(lanes, big, (b * n + a) * w, value)


@called
def absorb_dense(lanes, row, m, n, k, back):
    """Adds to dc and dr (a packed triangle) where R is dense, or its whole gradient is wanted.

    With e = Z (y - d - C x) the residuals as they were absorbed, Z = L^-1 less what earlier
    entries foretold, F^-1 = Z' diag(1 / s) Z and K = sum_i k_i Z_i,

        u = F^-1 v - K' r    dC = u x' - K' (I - N P_f)    dR = (u u' - F^-1 - K' N K) / 2

    To be called before r and N are taken over the row; leaves u (m, k).
    """
    w = width(lanes)
    zero = filled(lanes, back.r, 0.0)
    c, turn, gains, inverse, e = row.c, row.turn, row.gains, row.inverse, row.e
    r, big, x, p, us, dc, dr = back.r, back.big, back.x, back.p, back.u, back.dc, back.dr
    z, mn = back.z, m * n
    kt, nk = m * m, m * m + mn  # z also holds K' (m, n) and K' N (m, n)
    for i in range(m):
        for a in range(m):
            store(lanes, z, (i * m + a) * w, load(lanes, turn, (i * m + a) * w))
        for j in range(i):
            dot = zero
            for h in range(n):
                gain = load(lanes, gains, (j * n + h) * w)
                dot = dot + load(lanes, c, (i * n + h) * w) * gain
            for a in range(j + 1):
                at = (i * m + a) * w
                store(lanes, z, at, load(lanes, z, at) - dot * load(lanes, z, (j * m + a) * w))
    for a in range(m):
        for h in range(n):
            value = zero
            for i in range(a, m):
                gain = load(lanes, gains, (i * n + h) * w)
                value = value + load(lanes, z, (i * m + a) * w) * gain
            store(lanes, z, (kt + a * n + h) * w, value)
        for h in range(n):
            value = zero
            for g in range(n):
                own = load(lanes, z, (kt + a * n + g) * w)
                value = value + own * load(lanes, big, (g * n + h) * w)
            store(lanes, z, (nk + a * n + h) * w, value)
        for col in range(k):
            u = zero
            for i in range(a, m):
                scaled = load(lanes, e, (i * k + col) * w) * load(lanes, inverse, (i) * w)
                u = u + load(lanes, z, (i * m + a) * w) * scaled
            for h in range(n):
                u = u - load(lanes, z, (kt + a * n + h) * w) * load(lanes, r, (h * k + col) * w)
            store(lanes, us, (a * k + col) * w, u)
    for a in range(m):
        for h in range(n):
            value = load(lanes, dc, (a * n + h) * w) - load(lanes, z, (kt + a * n + h) * w)
            for g in range(n):
                own = load(lanes, z, (nk + a * n + g) * w)
                value = value + own * load(lanes, p, (g * n + h) * w)
            for col in range(k):
                u = load(lanes, us, (a * k + col) * w)
                value = value + u * load(lanes, x, (h * k + col) * w)
            store(lanes, dc, (a * n + h) * w, value)
        for b in range(a + 1):
            value = load(lanes, dr, pk(a, b) * w)
            for col in range(k):
                u = load(lanes, us, (a * k + col) * w)
                value = value + u * load(lanes, us, (b * k + col) * w)
            for i in range(a, m):
                scaled = load(lanes, z, (i * m + a) * w) * load(lanes, inverse, (i) * w)
                value = value - scaled * load(lanes, z, (i * m + b) * w)
            for h in range(n):
                own = load(lanes, z, (kt + a * n + h) * w)
                value = value - own * load(lanes, z, (nk + b * n + h) * w)
            store(lanes, dr, pk(a, b) * w, value)
