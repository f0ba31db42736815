"""Exact answers for the tiny models, in the dumbest way; nothing of the library is used here.

`Line` is affine arithmetic: a vector as offset + M e, e ~ N(0, I) one long vector of all noise in
the series. Rows of the model's equations become rows of M, and the law of everything is read off.
`plain`, `recurrent` and `global_` say what the models of `tiny.py` say; the discrete parts are
enumerated.
"""

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

F64 = torch.float64


@dataclass
class Line:
    """offset + M e."""

    offset: Tensor
    m: Tensor

    def __add__(self, other):
        if isinstance(other, Line):
            return Line(self.offset + other.offset, self.m + other.m)
        return Line(self.offset + other, self.m)

    def through(self, matrix):
        return Line(matrix @ self.offset, matrix @ self.m)


class Noise:
    """Hands out fresh directions of e."""

    def __init__(self, size):
        self.size, self.used = size, 0

    def __call__(self, root):
        m = torch.zeros(root.shape[0], self.size, dtype=F64)
        m = torch.cat(
            [
                m[:, : self.used],
                root,
                m[:, self.used + root.shape[1] :],
            ],
            -1,
        )
        self.used += root.shape[1]
        return Line(torch.zeros(root.shape[0], dtype=F64), m)


def constant(value, size):
    return Line(value, torch.zeros(value.shape[0], size, dtype=F64))


def stack(*lines):
    return Line(torch.cat([a.offset for a in lines]), torch.cat([a.m for a in lines]))


def plain(model, u):
    """Lists of z_t and y_t as lines in all noise."""
    rows = u.shape[0]
    noise = Noise(4 * rows)
    zs, ys = [], []
    for t in range(rows):
        step = noise(model.root_q)
        z = step + model.m_0 if t == 0 else zs[-1].through(model.A) + model.B @ u[t] + step
        zs.append(z)
        ys.append(z.through(model.C) + model.D @ u[t] + noise(model.root_r))
    return zs, ys


def recurrent(model, u):
    """The memory reads z_{t-1}, y_{t-1}, u_t and is linear."""
    rows = u.shape[0]
    noise = Noise(3 * rows)
    size = noise.size
    z, y = (
        constant(torch.tensor([0.5], dtype=F64), size),
        constant(torch.tensor([-0.3] * 2, dtype=F64), size),
    )
    h = constant(model.path.h_0, size)
    zs, ys = [], []
    for t in range(rows):
        x = stack(z, y, constant(u[t], size))
        h = h.through(model.path.W) + x.through(model.path.U)
        std = torch.ones(1, 1, dtype=F64) if t == 0 else torch.full((1, 1), 0.7, dtype=F64)
        mean = h.through(model.F) if t == 0 else z.through(model.A) + h.through(model.F)
        z = mean + noise(std)
        y = z.through(model.C) + h.through(model.G) + noise(model.root_r)
        zs.append(z)
        ys.append(y)
    return zs, ys


def global_(model, u):
    """z_t sees h_{t-1}; the memory reads z_t, y_{t-1}, u_t and is linear; y_t sees h_t."""
    rows = u.shape[0]
    noise = Noise(3 * rows)
    size = noise.size
    y = constant(torch.zeros(2, dtype=F64), size)
    h = constant(model.path.h_0, size)
    zs, ys = [], []
    for t in range(rows):
        std = torch.ones(1, 1, dtype=F64) if t == 0 else torch.full((1, 1), 0.7, dtype=F64)
        mean = h.through(model.F) if t == 0 else zs[-1].through(model.A) + h.through(model.F)
        z = mean + noise(std)
        x = stack(z, y, constant(u[t], size))
        h = h.through(model.path.W) + x.through(model.path.U)
        y = h.through(model.G) + noise(model.root_r)
        zs.append(z)
        ys.append(y)
    return zs, ys


def log_density(line, value):
    """Of the entries of `value` that are not NaN."""
    seen = ~value.isnan()
    mean, m = line.offset[seen], line.m[seen]
    return torch.distributions.MultivariateNormal(mean, m @ m.mT).log_prob(value[seen])


def posterior(target, line, value):
    """Mean and covariance of one line given the observed entries of another."""
    seen = ~value.isnan()
    m = line.m[seen]
    gain = torch.linalg.solve(m @ m.mT, m @ target.m.mT).mT
    mean = target.offset + gain @ (value[seen] - line.offset[seen])
    return mean, target.m @ target.m.mT - gain @ m @ target.m.mT


LINEAR = {"plain": plain, "recurrent": recurrent, "global": global_}


def log_p_discrete(model, y, u):
    """Sum over all 3^T paths; also P(k_t | y) and P(k_{t+1}, k_t | y)."""
    rows = y.shape[0]
    paths = torch.tensor(list(itertools.product(range(3), repeat=rows)))
    total = model.first.log_softmax(-1)[paths[:, 0]]
    for t in range(1, rows):
        logits = (model.W + (model.U @ u[t])).log_softmax(-1)
        total = total + logits[paths[:, t - 1], paths[:, t]]
    for t in range(rows):
        each = torch.distributions.Normal(model.centres[paths[:, t]], 0.8).log_prob(
            y[t].nan_to_num()
        )
        total = total + torch.where(y[t].isnan(), 0.0, each).sum(-1)
    log_p = total.logsumexp(0)
    weights = (total - log_p).exp()
    probs = torch.stack([_histogram(paths[:, t], weights, 3) for t in range(rows)])
    pairs = torch.stack(
        [
            _histogram(paths[:, t + 1] * 3 + paths[:, t], weights, 9).reshape(3, 3)
            for t in range(rows - 1)
        ]
    )
    return log_p, probs, pairs


def _histogram(index, weights, size):
    return torch.zeros(size, dtype=F64).index_add(0, index, weights)


def log_p_switch(model, y, u):
    """Sum over all 2^T paths of k of p(k) and the dense Gaussian of y given k; also P(k_t | y)."""
    rows = y.shape[0]
    terms, paths = [], list(itertools.product(range(2), repeat=rows))
    for k in paths:
        noise = Noise(2 * rows)
        log_k = model.W[0].log_softmax(-1)[k[0]]
        x, ys = None, []
        for t in range(rows):
            if t:
                log_k = log_k + (model.W[k[t - 1]] + model.U @ u[t]).log_softmax(-1)[k[t]]
            step = noise(model.std[k[t]].reshape(1, 1))
            b = model.b[k[t]].reshape(1)
            if t == 0:
                x = step + b
            else:
                x = x.through(model.a[k[t]].reshape(1, 1)) + b + 0.5 * k[t - 1] + step
            ys.append(x + noise(torch.full((1, 1), 0.5, dtype=F64)))
        terms.append(log_k + log_density(stack(*ys), y.flatten()))
    terms = torch.stack(terms)
    log_p = terms.logsumexp(0)
    index = torch.tensor(paths)
    weights = (terms - log_p).exp()
    probs = torch.stack([_histogram(index[:, t], weights, 2) for t in range(rows)])
    return log_p, probs


def log_p(name, model, y, u, length):
    """log p(y) of one series, rows beyond `length` left out."""
    y, u = y[:length], u[:length]
    if name == "discrete":
        return log_p_discrete(model, y, u)[0]
    if name == "switch":
        return log_p_switch(model, y, u)[0]
    return log_density(stack(*LINEAR[name](model, u)[1]), y.flatten())
