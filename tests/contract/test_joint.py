"""The joint density: all of time at once is the sum over single steps, whatever the model."""

import pytest
import torch
from contract.tiny import MODELS, READ_Y, Plain, Recurrent, inputs, ragged_case
from torch.testing import assert_close

from statespace.errors import InputError, InputTypeError
from statespace.interface import Context, Switching
from statespace.shapes import tmap


def marginal(d, y):
    """log density of the entries of y that are not NaN, for one row, in the dumbest way."""
    seen = ~y.isnan()
    if not bool(seen.any()):
        return torch.zeros(())
    if hasattr(d, "covariance_matrix"):
        mean, cov = d.mean[seen], d.covariance_matrix[seen][:, seen]
        return torch.distributions.MultivariateNormal(mean, cov).log_prob(y[seen])
    return d.base_dist.log_prob(y.nan_to_num())[seen].sum()


def stepped(model, z, y, u, length):
    """log p(z, y) of one series, row by row, written as the contract says it."""
    z_before, y_before = model.origin(torch.Size())
    memory = model.path.start(torch.Size(), ())
    remembers = bool(model.reads)
    total = torch.zeros((), dtype=torch.float64)
    for t in range(length):
        z_t, y_t = tmap(lambda x, t=t: x[t], z), y[t]
        step = torch.tensor(t)
        plain = Context(step, u[t], u[t][:0])
        h = model.path.read(memory) if remembers else u[t][:0]
        if remembers and model.order == "h then z":
            memory = model.path.step(memory, model.feed(z_before, y_before, plain))
            h = model.path.read(memory)
        ctx = Context(step, u[t], h)
        law = model.initial(ctx) if t == 0 else model.transition(z_before, ctx)
        total = total + law.log_prob(z_t)
        if remembers and model.order == "z then h":
            memory = model.path.step(memory, model.feed(z_t, y_before, plain))
            ctx = Context(step, u[t], model.path.read(memory))
        total = total + marginal(model.emission(z_t, ctx), y_t)
        z_before, y_before = z_t, y_t
    return total


@pytest.mark.parametrize("name", MODELS)
def test_all_time_is_stepped(name):
    """log_joint of a ragged batch with inputs and missing entries is the loop, to 1e-12."""
    model = MODELS[name]()
    y, u, lengths = ragged_case(model, missing=name not in READ_Y)
    if name in READ_Y:
        y[0, 4, 1] = torch.nan  # the last row feeds nothing
    z = model.sample(5, inputs=u, seed=8).z
    with torch.no_grad():
        got = model.log_joint(z, y, u, lengths=lengths)
        one = [
            stepped(model, tmap(lambda x, i=i: x[i], z), y[i], u[i], int(lengths[i]))
            for i in range(3)
        ]
    assert got.shape == (3,)
    assert_close(got, torch.stack(one), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_a_sample_axis_is_a_batch(name):
    """Points left of the batch are evaluated together as they are apart."""
    model = MODELS[name]()
    u = inputs(3, 5)
    y = model.sample(5, inputs=u, seed=1).y
    z = model.sample(5, sample_shape=(4, 2), inputs=u, seed=2).z
    with torch.no_grad():
        together = model.log_joint(z, y, u)
        apart = [
            [model.log_joint(tmap(lambda x, i=i, j=j: x[i, j], z), y, u) for j in range(2)]
            for i in range(4)
        ]
    assert together.shape == (4, 2, 3)
    assert_close(together, torch.stack([torch.stack(a) for a in apart]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_padding_contributes_nothing(name):
    """What stands in z and y beyond the end, NaN too, changes no value and no gradient."""
    model = MODELS[name]()
    y, u, lengths = ragged_case(model, missing=False)
    z = model.sample(5, inputs=u, seed=8).z
    clean = model.log_joint(z, y, u, lengths=lengths).sum()
    grads = torch.autograd.grad(clean, list(model.parameters()), allow_unused=True)

    def spoil(x):
        x = x.clone()
        x[1, 4:] = torch.nan if x.is_floating_point() else 0
        x[2, 3:] = torch.nan if x.is_floating_point() else 1
        return x

    spoilt = model.log_joint(tmap(spoil, z), spoil(y), u, lengths=lengths).sum()
    again = torch.autograd.grad(spoilt, list(model.parameters()), allow_unused=True)
    assert_close(clean, spoilt, rtol=0, atol=0)
    for a, b in zip(grads, again, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert bool(torch.isfinite(a).all())
            assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize("name", READ_Y)
def test_a_missing_y_that_feeds_the_memory_is_refused(name):
    """The joint of a partly observed y is no product of densities there, and says so."""
    model = MODELS[name]()
    y, u, _ = ragged_case(model)
    z = model.sample(5, inputs=u, seed=8).z
    with pytest.raises(InputError, match="every row but the last"):
        model.log_joint(z, y, u)


def test_unread_means_none():
    """A memory that does not say that it reads z is not shown z."""
    seen = []

    class Blind(Recurrent):
        reads = frozenset({"y", "u"})

        def feed(self, z, y, ctx):
            seen.append(z)
            return super().feed(torch.zeros(*y.shape[:-1], 1, dtype=y.dtype), y, ctx)

    model = Blind()
    u = inputs(3, 5)
    drawn = model.sample(5, inputs=u, seed=0)
    model.log_joint(drawn.z, drawn.y, u)
    model.filter(drawn.y, u, seed=0)
    assert seen
    assert all(z is None for z in seen)


def test_wrong_z_is_refused_in_a_sentence():
    """Rank, number of rows, dtype and kind of z."""
    model = Plain()
    u = inputs(3, 5)
    y = model.sample(5, inputs=u, seed=1).y
    z = model.sample(5, inputs=u, seed=1).z
    with pytest.raises(InputError, match=r"`z`: expected shape \(\*sample, 3, 5, 2\)"):
        model.log_joint(z[:, :4], y, u)
    with pytest.raises(InputError, match="`z`"):
        model.log_joint(z[0], y, u)
    with pytest.raises(InputTypeError, match="floating point"):
        model.log_joint(z.long(), y, u)
    with pytest.raises(InputTypeError, match="a tensor"):
        model.log_joint(z.tolist(), y, u)
    switch = MODELS["switch"]()
    drawn = switch.sample(5, inputs=u, seed=1)
    with pytest.raises(InputTypeError, match="`z`"):
        switch.log_joint(drawn.z.x, drawn.y, u)
    with pytest.raises(InputTypeError, match="integers"):
        switch.log_joint(Switching(drawn.z.k.double(), drawn.z.x), drawn.y, u)


def test_scan_is_the_loop_over_step():
    """The default scan of a path: h at every row, and the memory at each series' own end."""
    path = Recurrent().path
    x = torch.randn(3, 5, 4, dtype=torch.float64)
    lengths = torch.tensor([5, 4, 2])
    end, h = path.scan(path.start((3,), ()), x, lengths)
    for i in range(3):
        memory = path.start((), ())
        for t in range(int(lengths[i])):
            memory = path.step(memory, x[i, t])
            assert_close(h[i, t], path.read(memory))
        assert_close(end[0][i], memory[0])
        assert int(end[1][i]) == int(lengths[i])
