"""Minibatches: every series once in a pass, little padding, and no value counts more than another.

Would catch: a series left out or seen twice, an order that is not the generator's, a batch of short
series that moves the parameters as far as one of long ones.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

import statespace as ss
from statespace.learning.batches import batches
from statespace.learning.objective import Objective
from statespace.learning.progress import Report
from statespace.learning.training import Progress, Trainer
from statespace.sequences import read_sequences

F64 = torch.float64


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("num", "size"), [(229, 20), (40, 20), (7, 3), (5, 9), (1, 1)])
def test_every_series_is_in_one_batch(num: int, size: int) -> None:
    """As many batches as plain ones, none larger; the same again from the same generator."""
    lengths = torch.randint(16, 160, (num,), generator=seeded(0))
    parts = batches(lengths, size, seeded(1))
    assert sorted(torch.cat(parts).tolist()) == list(range(num))
    assert len(parts) == -(-num // size)
    assert max(len(part) for part in parts) <= size
    again = batches(lengths, size, seeded(1))
    assert all(torch.equal(a, b) for a, b in zip(parts, again, strict=True))
    if num > size:
        other = batches(lengths, size, seeded(2))
        assert any(not torch.equal(a, b) for a, b in zip(parts, other, strict=False))


def test_one_length_is_one_random_order() -> None:
    """Nothing is sorted, and no further random number is taken."""
    g, h = seeded(3), seeded(3)
    parts = batches(torch.full((10,), 7), 4, g)
    assert torch.equal(torch.cat(parts), torch.randperm(10, generator=h))
    assert torch.equal(g.get_state(), h.get_state())


def test_little_is_padding() -> None:
    """Rows computed for rows there are: 1.7 in batches at random, below 1.15 here."""
    lengths = torch.randint(16, 160, (229,), generator=seeded(4))
    rows = sum(len(p) * int(lengths[p].max()) for p in batches(lengths, 20, seeded(5)))
    assert rows < 1.15 * int(lengths.sum())


def test_a_pass_is_all_of_the_data() -> None:
    """The mean gradient of the batches of a pass is that of all series, per observed value.

    Series are of very unequal lengths, some rows are missing, and the last batch is a small one.
    """
    y, u = (torch.randn(11, 30, 1, dtype=F64, generator=seeded(k)) for k in (6, 7))
    y[3, 2:9] = torch.nan
    lengths = torch.tensor([1, 30, 4, 29, 2, 3, 25, 5, 28, 27, 6])
    where: dict[str, Any] = {"obs_dim": 1, "input_dim": 1, "dtype": F64}
    data = read_sequences(y, u, lengths=lengths, device=torch.device("cpu"), **where)
    model = ss.AutoregressiveRNN(1, 1, hidden_dim=3, feedback="none", dtype=F64, seed=0)
    objective = Objective(model, ss.TeacherForcing(), data, seeded(7))
    scale = torch.ones(objective.size, dtype=F64)
    run = Trainer(ss.Gradient(4, batch_size=3), objective, scale, seeded(8), None)
    found: list[Any] = [run._gradient(part, None, Progress()) for part in run._batches()]
    total = model.log_likelihood(y, u, lengths=lengths).sum() / int(data.n_values.sum())
    slopes = torch.autograd.grad(total, objective.parameters, materialize_grads=True)
    wanted = torch.cat([slope.flatten() for slope in slopes])
    assert torch.allclose(sum(g for _, g, _ in found) / 4, wanted, atol=1e-12)
    assert sum(v for v, _, _ in found) / 4 == pytest.approx(float(total.detach()))


def test_single_precision_moves_in_single_precision() -> None:
    """Weights of float32 networks are one float32 vector; float64 ones, and slots, are not."""
    for dtype in (torch.float32, F64):
        model = ss.AutoregressiveRNN(1, hidden_dim=3, dtype=dtype, seed=0)
        where: dict[str, Any] = {"obs_dim": 1, "input_dim": 0, "dtype": dtype}
        data = read_sequences(torch.zeros(4, 1), None, device=torch.device("cpu"), **where)
        objective = Objective(model, ss.TeacherForcing(), data, seeded(0))
        scale = torch.ones(objective.size, dtype=F64)
        run = Trainer(ss.Gradient(3), objective, scale, seeded(0), None)
        assert run.x.dtype == dtype
        run.run(Progress(), Report(), lambda _: None)
        assert torch.equal(objective.read(), run.x.detach().double())


def test_an_interrupted_fit_of_networks_goes_on_bitwise(tmp_path: Any) -> None:
    """Single precision, batches of unequal lengths, dropout: the same weights to the last bit."""
    y = torch.randn(7, 9, 2, generator=seeded(9))
    lengths = torch.tensor([9, 2, 5, 3, 8, 4, 6])

    def stop(i: int, value: float) -> None:
        if i == 7:
            raise KeyboardInterrupt

    def model() -> Any:
        return ss.DeepKalmanFilter(2, 2, hidden_dim=3, dropout=0.2, seed=0)

    how: dict[str, Any] = {"batch_size": 2, "clip": 1.0, "optimizer": "adamw", "weight_decay": 0.1}
    path = tmp_path / "fit"
    stored = ss.Gradient(12, checkpoint=path, **how)
    whole, part, again = model(), model(), model()
    whole.fit(y, lengths=lengths, learner=ss.Gradient(12, **how), seed=0)
    with pytest.raises(KeyboardInterrupt):
        part.fit(y, lengths=lengths, learner=stored, seed=0, progress=stop)
    assert path.exists()
    again.fit(y, lengths=lengths, learner=stored, seed=0)
    for p, q in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(p, q)
