"""Noise that belongs to learning: dropout and scheduled sampling. No verb knows of either.

Statistical tests compare shares with their probability at five standard errors: a false alarm has
a chance below 1e-6 each. Seeds are fixed.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli

import statespace as ss
from statespace.errors import InputError
from statespace.inference.teacher import method as teacher
from statespace.interface import climbing
from statespace.nn import Feedforward, recurrent
from statespace.sequences import read_sequences

F64 = torch.float64
RAGGED = torch.tensor([6, 4, 1])


def rnn(m: int, p: int = 0, **how: Any) -> Any:
    return ss.AutoregressiveRNN(m, p, **{"hidden_dim": 4, "dtype": F64, "seed": 2, **how})


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def notes(*shape: int) -> Tensor:
    return torch.randint(2, shape, generator=generator(3)).to(F64)


def read(model: Any, y: Tensor, u: Tensor | None = None, lengths: Tensor | None = None) -> Any:
    return read_sequences(
        y, u, obs_dim=model.obs_dim, input_dim=model.input_dim, dtype=F64, device="cpu",
        lengths=lengths, integer=model.categorical,
    )  # fmt: skip


# ------------------------------------------------------------------ dropout


@pytest.mark.parametrize(
    "how",
    [{"cell": "lstm", "layers": 2}, {"layer_norm": True, "layers": 2}, {"feedback": "output"}],
)
def test_no_verb_knows_of_dropout(how: dict[str, Any], tmp_path: Any) -> None:
    """The same weights without it answer the same, after a load too; a learner sees the noise."""
    y = notes(3, 6, 2)
    plain = rnn(2, family="bernoulli", **how)
    noisy = rnn(2, family="bernoulli", dropout=0.5, **how)
    noisy.load_state_dict(plain.state_dict()) if "feedback" not in how else None
    noisy.save(tmp_path / "noisy")
    method, data = ss.TeacherForcing(), read(noisy, y)
    for model in (noisy, noisy.train(), noisy.eval(), ss.load(tmp_path / "noisy")):
        assert torch.equal(model.log_likelihood(y), plain.log_likelihood(y))
        assert torch.equal(model.sample(5, seed=1).y, plain.sample(5, seed=1).y)
    with climbing():
        a, b, c = (method.objective(noisy, data, generator(s)) for s in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.isclose(a, c).any()


def test_dropout_written_out() -> None:
    """Masks on what the cell reads and on what the head reads, and steps between them."""
    model, y, u = (
        rnn(2, 1, family="bernoulli", cell="lstm", dropout=0.4),
        notes(3, 6, 2),
        notes(6, 1),
    )
    with climbing():
        found = ss.TeacherForcing().objective(model, read(model, y, u), generator(5))
    g, keep = generator(5), 0.6
    masks = [(torch.rand(3, 6, k, dtype=F64, generator=g) >= 0.4) / keep for k in (3, 4)]
    memory, before, total = model.path.start((3,), ()), torch.zeros(3, 2, dtype=F64), 0.0
    for t in range(6):
        x = torch.cat([before, u[t].expand(3, 1)], -1) * masks[0][:, t]
        memory = model.path.step(memory, x)
        logits = model.head.net(memory[0] * masks[1][:, t])
        total = total + Bernoulli(logits=logits).log_prob(y[:, t]).sum(-1)
        before = y[:, t]
    assert torch.allclose(found, total, rtol=1e-12)


def test_dropout_between_layers() -> None:
    """A first layer that says 3 always and a second that hands it on: 0 or 3 / (1 - p)."""
    path = recurrent(1, 8, "rnn", layers=2, activation="relu", dropout=0.25, dtype=F64)
    with torch.no_grad():
        for name, weight in path.kernel.named_parameters():
            weight.zero_()
            if name == "bias_ih_l0":
                weight.fill_(3.0)
            if name == "weight_ih_l1":
                weight.copy_(torch.eye(8))
    x, lengths = torch.zeros(40, 50, 1, dtype=F64), torch.full((40,), 50)
    begin = path.start((40,), ())
    assert bool((path.scan(begin, x, lengths)[1] == 3).all())
    with climbing():
        torch.manual_seed(0)
        _, h = path.scan(begin, x, lengths)
        _, ragged = path.scan(begin, x, lengths.clone().fill_(20))
        stepped = torch.stack([path.read(path.step(begin, x[:, 0])) for _ in range(50)])
    for found in (h, ragged[:, :20], stepped):
        assert set(found.unique().tolist()) == {0.0, 4.0}
        gap = float((found == 0).double().mean()) - 0.25
        assert abs(gap) < 5 * math.sqrt(0.25 * 0.75 / found.numel())
    assert bool((path.scan(begin, x, lengths)[1] == 3).all())


def test_dropout_between_normalised_layers() -> None:
    """The second layer alone reads what the first one says, masked."""
    path = recurrent(2, 5, "lstm", layers=2, layer_norm=True, dropout=0.4, dtype=F64)
    x, lengths = torch.randn(3, 6, 2, dtype=F64, generator=generator()), torch.full((3,), 6)
    first, second = (recurrent(k, 5, "lstm", layer_norm=True, dtype=F64) for k in (2, 5))
    for part, cell in ((first, path.cells[0]), (second, path.cells[1])):
        part.cells[0].load_state_dict(cell.state_dict())
    said = first.scan(first.start((3,), ()), x, lengths)[1]
    begin = path.start((3,), ())
    with climbing():
        torch.manual_seed(0)
        h = path.scan(begin, x, lengths)[1]
        torch.manual_seed(0)
        kept = torch.rand(3, 6, 5, dtype=F64) >= 0.4
    wanted = second.scan(second.start((3,), ()), said * kept / 0.6, lengths)[1]
    assert torch.allclose(h, wanted, rtol=1e-12)


def test_dropout_between_layers_without_recurrence() -> None:
    """The same for a memory that is a network."""
    path = Feedforward(1, 500, layers=2, dropout=0.25, dtype=F64)
    x = torch.ones(1, 1, 1, dtype=F64)
    begin, lengths = path.start((1,), ()), torch.tensor([1])
    first = torch.tanh(path.layers[0](x))
    last = path.layers[-2]
    with climbing():
        torch.manual_seed(0)
        h = path.scan(begin, x, lengths)[1]
        torch.manual_seed(0)
        kept = torch.rand(1, 1, 500, dtype=F64) >= 0.25
    assert torch.allclose(h, torch.tanh(last(first * kept / 0.75)))
    assert torch.allclose(path.scan(begin, x, lengths)[1], torch.tanh(last(first)))


# ------------------------------------------------------------------ scheduled sampling


def fed_by(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """What memories read from here on."""
    seen: list[Tensor] = []
    plain = teacher.mixed

    def mixed(*args: Any) -> Tensor:
        seen.append(plain(*args))
        return seen[-1]

    monkeypatch.setattr(teacher, "mixed", mixed)
    return seen


@pytest.mark.parametrize("gap", [False, True])
def test_without_own_draws_it_is_the_likelihood(gap: bool) -> None:
    """eps = 0, by a number or a function: number for number, where particles draw too."""
    model, y = rnn(2, family="bernoulli"), notes(3, 6, 2)
    if gap:
        y[1, 2, 0] = math.nan
    data = read(model, y)
    wanted = ss.TeacherForcing(20).log_likelihood(model, data, generator())
    for share in (0.0, lambda step: 0.1 * step):
        method = ss.TeacherForcing(20, scheduled_sampling=share)
        assert torch.equal(method.objective(model, data, generator()), wanted)
        assert torch.equal(method.log_likelihood(model, data, generator()), wanted)


@pytest.mark.parametrize("kind", ["notes", "tokens"])
def test_the_objective_written_out(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Series by series and row by row on what was fed; gradients do not go through draws."""
    if kind == "notes":
        model, y, u = rnn(2, 1, family="bernoulli", cell="lstm"), notes(3, 6, 2), notes(6, 1)
    else:
        model = rnn(1, family="categorical", num_categories=5, embedding_dim=3)
        y, u = torch.randint(5, (3, 6, 1), generator=generator(8)), None
    fed = fed_by(monkeypatch)
    method = ss.TeacherForcing(scheduled_sampling=0.5)
    found = method.objective(model, read(model, y, u, RAGGED), generator(1))
    (told,) = fed
    assert told.shape == y.shape
    start = 5 if kind == "tokens" else 0
    wanted = []
    for i, length in enumerate(RAGGED.tolist()):
        assert told[i, 0].tolist() == [start] * model.obs_dim
        memory, total = model.path.start((), ()), 0.0
        for t in range(length):
            x = model.seen(told[i, t])
            memory = model.path.step(memory, x if u is None else torch.cat([x, u[t]]))
            total = total + model.head(memory[0]).log_prob(y[i, t])
        wanted.append(total)
    expected = torch.stack(wanted)
    assert torch.allclose(found, expected, rtol=1e-12)
    params = list(model.parameters())
    pairs = zip(*(torch.autograd.grad(v.sum(), params) for v in (found, expected)), strict=True)
    assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in pairs)


def test_how_often_own_draws_are_fed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is sure of zeros, told ones: zeros are its own, as often as eps says."""
    model, fed = rnn(3, family="bernoulli"), fed_by(monkeypatch)
    with torch.no_grad():
        model.head.net[-1].bias.fill_(-60.0)
    data = read(model, torch.ones(200, 21, 3, dtype=F64))
    for share in (0.3, 1.0):
        ss.TeacherForcing(scheduled_sampling=share).objective(model, data, generator())
        own = fed[-1][:, 1:] == 0
        assert bool((own.all(-1) == own.any(-1)).all())  # a row is the model's own, or is not
        gap = float(own[..., 0].double().mean()) - share
        assert abs(gap) <= 5 * math.sqrt(share * (1 - share) / 4000)


def test_a_free_run_hears_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """eps = 1: what is fed does not hang on the data, and is a sample of the model."""
    model, fed = rnn(1, family="bernoulli", cell="lstm"), fed_by(monkeypatch)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.8 * torch.randn(p.shape, generator=generator(1), dtype=F64))
    method = ss.TeacherForcing(scheduled_sampling=1.0)
    for y in (torch.zeros(8000, 4, 1, dtype=F64), notes(8000, 4, 1)):
        method.objective(model, read(model, y), generator(4))
    assert torch.equal(*fed)
    for path in ((0, 0, 1), (1, 0, 1), (1, 1, 0)):
        chance = float(model.log_likelihood(torch.tensor(path, dtype=F64)).detach().exp())
        same = (fed[0][:, 1:, 0] == torch.tensor(path, dtype=F64)).all(-1)
        gap = float(same.double().mean()) - chance
        assert abs(gap) < 5 * math.sqrt(chance * (1 - chance) / 8000)


def test_what_is_missing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside what was observed of its row; a state of particles can be gone on from."""
    model, y, fed = rnn(2, family="bernoulli"), notes(3, 6, 2), fed_by(monkeypatch)
    y[0, 2, 1] = y[1, 3] = math.nan
    data, method = read(model, y), ss.TeacherForcing(10, scheduled_sampling=1e-9)
    value = method.objective(model, data, generator())
    told, seen = fed[0][:, 1:], data.observed[:, :-1]
    assert bool(torch.isfinite(value).all())
    assert torch.equal(told[seen], y[:, :-1][seen])
    with torch.no_grad():
        model.head.net[-1].bias.add_(60.0)  # sure of ones
    method.objective(model, data, generator())
    assert bool((fed[1][:, 1:][~seen] == 1).all())
    state = model.filter(y, method=method, seed=0).state
    more = method.objective(model, read(model, notes(3, 6, 2)), generator(), state)
    assert more.shape == (3,)
    assert bool(torch.isfinite(more).all())


def test_a_learner_counts_updates_and_reports_the_likelihood() -> None:
    """eps is asked for at 0, 1, 2, ..; what a fit says of its end is exact.

    The objective falls as eps rises, so that the first point would be the best: the last is kept.
    """
    y = notes(10).repeat_interleave(5)[:, None]  # sticks to what it was: own draws lead astray
    model, asked = rnn(1, family="bernoulli", seed=0), []
    model.fit(y, learner=ss.Gradient(150, lr=0.05), seed=0)
    begun = [p.detach().clone() for p in model.parameters()]

    def share(step: int) -> float:
        asked.append(step)
        return min(1.0, step / 2)

    method = ss.TeacherForcing(scheduled_sampling=share)
    assert method.annealed
    assert not ss.TeacherForcing(scheduled_sampling=0.5).annealed
    assert ss.Variational(beta=ss.Warmup(3)).annealed
    assert not ss.Variational(beta=0.5).annealed
    fit = model.fit(y, method=method, learner=ss.Gradient(4, lr=0.05), seed=0)
    assert asked == [0, 1, 2, 3]
    assert fit.kind == "exact"
    assert fit.log_likelihood == pytest.approx(float(model.log_likelihood(y).detach()), rel=1e-9)
    assert any(not torch.equal(a, b) for a, b in zip(begun, model.parameters(), strict=True))


def test_wrong_settings_are_refused() -> None:
    """By sentences."""
    model = rnn(1)
    for share in (1.5, -0.1, "often", True, math.nan):
        with pytest.raises(InputError, match="`scheduled_sampling`: expected a number from 0 to 1"):
            ss.TeacherForcing(scheduled_sampling=share)
    method = ss.TeacherForcing(scheduled_sampling=lambda step: 2.0)
    with pytest.raises(InputError, match="scheduled_sampling"):
        method.objective(model, read(model, torch.zeros(3, 1, dtype=F64)), generator())
    for how in ({}, {"layers": 2}, {"feedback": "output"}):
        with pytest.raises(InputError, match="`dropout`"):
            rnn(1, dropout=1.0, **how)
