"""Seeds: verbs take them, torch's own generator is lent and given back."""

import threading

import pytest
import torch
from contract.tiny import (
    Plain,
    ragged_case,
)

from statespace.errors import InputError, InputTypeError
from statespace.interface import (
    lend,
    seeded,
)


@pytest.fixture
def case():
    model = Plain()
    y, u, _ = ragged_case(model)
    return model, y, u


def test_lending_restores_on_failure():
    """torch's generator is what it was, and ours has moved on, although the block failed."""
    mine, _ = seeded(3, "cpu")
    start = mine.get_state()
    before = torch.get_rng_state()

    def fail():
        with lend(mine):
            torch.rand(3)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(start, mine.get_state())


def test_lending_is_one_stream():
    """Draws with and without generator= come from one stream, and lending again is no restart."""
    mine, _ = seeded(3, "cpu")
    with lend(mine) as lent:
        a, b = torch.rand(()), torch.rand((), generator=lent)
        with lend(lent):
            c = torch.rand(())
    d = torch.rand((), generator=mine)
    again = torch.rand(4, generator=seeded(3, "cpu")[0])
    assert torch.stack([a, b, c, d]).tolist() == again.tolist()


def test_a_verb_that_fails_leaves_torchs_generator_alone(case):
    """Also where the density raises in the middle of a scan."""
    _, y, u = case

    class Failing(Plain):
        def emission(self, z, ctx):
            if ctx.t == 3:
                raise ZeroDivisionError
            return super().emission(z, ctx)

    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError):
        Failing().filter(y, u)
    assert torch.equal(before, torch.get_rng_state())


def test_one_thread_lends_at_a_time(case):
    """Two threads with one seed each get the numbers that they get alone."""
    model, y, u = case
    alone = [model.filter(y, u, seed=s).log_likelihood for s in range(4)]
    found = [None] * 4

    def work(s):
        found[s] = model.filter(y, u, seed=s).log_likelihood

    threads = [threading.Thread(target=work, args=(s,)) for s in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(a, b) for a, b in zip(alone, found, strict=True))


def test_a_fresh_seed_is_recorded(case):
    """Without seed= the numbers are new each time, and the record says how to get them again."""
    model, y, u = case
    one, two = model.sample(3, inputs=u[:, :3]), model.sample(3, inputs=u[:, :3])
    assert one.seed != two.seed
    assert torch.equal(model.sample(3, inputs=u[:, :3], seed=one.seed).y, one.y)
    f = model.filter(y, u)
    assert torch.equal(f.log_likelihood, model.filter(y, u, seed=f.seed).log_likelihood)
    s = model.smooth(y, u)
    assert torch.equal(s.mean, model.smooth(y, u, seed=s.seed).mean)
    fc = model.forecast(horizon=2, inputs=u[:, :2], state=f.state)
    assert fc.seed is None  # the state's own random numbers went on
    more = torch.cat([u, u[:, :1]], 1)
    fc = model.forecast(y, horizon=1, inputs=more)
    assert torch.equal(fc.samples, model.forecast(y, horizon=1, inputs=more, seed=fc.seed).samples)
    assert model.score(y, u).seed is not None


@pytest.mark.parametrize(
    ("seed", "error"),
    [
        ("1", InputTypeError),
        (1.0, InputTypeError),
        (True, InputTypeError),
        (-1, InputError),
        (2**64, InputError),
    ],
)
def test_a_seed_is_a_whole_number(case, seed, error):
    model, y, u = case
    with pytest.raises(error, match="`seed`"):
        model.filter(y, u, seed=seed)
