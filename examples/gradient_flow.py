"""Why gates: how far a gradient reaches through Elman's network, an LSTM and a GRU.

What the last row says about a hundred steps earlier goes through a product of a hundred Jacobians,

    d h_T / d h_s = J_T J_{T-1} ... J_{s+1},    J_t = d h_t / d h_{t-1},

which shrinks or grows like a geometric series in the lag. In Elman's network J_t is the slope of
the tanh times one matrix, and every step costs. In a gated cell there is a path beside it,
c_t = f c_{t-1} + ..., on which a step costs the factor f alone: near one where the gate is open,
and one half where it stands ajar, which it does if its bias begins at zero.

The task is to recall: a sign is shown in the first row, a hundred rows of noise follow, and the
sign is asked for in the last. Each cell learns it for the same 200 updates. Who can is said
beforehand by the rate at which the products shrink at the start.

    python examples/gradient_flow.py             # half a minute
    python examples/gradient_flow.py --figure    # writes gradient_flow.png as well

Source: Bengio, Simard and Frasconi (1994); Hochreiter and Schmidhuber (1997); Pascanu, Mikolov and
Bengio (2013), section 2. For gates that begin open: Gers, Schmidhuber and Cummins (2000).
"""

import math
import sys
from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from torch import Tensor

import statespace as ss
from statespace.diagnostics import GradientFlow

LAG = 100
UNITS = 16
AJAR, OPEN = 0.0, 3.0  # bias of a gate that keeps: sigmoid is 0.5 and 0.95

# the name, the cell, the bias of its gate that keeps (None where it begins as it is made)
CELLS = (
    ("Elman", "rnn", None),
    ("LSTM", "lstm", None),
    ("GRU", "gru", None),
    ("LSTM, ajar", "lstm", AJAR),
    ("GRU, ajar", "gru", AJAR),
    ("LSTM, open", "lstm", OPEN),
    ("GRU, open", "gru", OPEN),
)
COLOURS = ("#1a1a1a", *("#0072b2", "#d55e00") * 3)
DASHES = {"ajar": ":", "open": "--"}


@dataclass(frozen=True)
class Found:
    """What a cell did: how gradients flow before and after, and nats at the row that is asked."""

    name: str
    start: GradientFlow
    trained: GradientFlow
    loss: float


def recall(series: int, lag: int, seed: int) -> tuple[Tensor, Tensor]:
    """Series y, (series, lag + 1, 1), observed in the last row alone; inputs: a sign, and noise."""
    generator = torch.Generator().manual_seed(seed)
    u = torch.zeros(series, lag + 1, 2)
    u[:, 0, 0] = 2.0 * torch.randint(2, (series,), generator=generator) - 1
    u[..., 1] = torch.randn(series, lag + 1, generator=generator)
    y = torch.full((series, lag + 1, 1), math.nan)
    y[:, -1, 0] = (u[:, 0, 0] > 0).float()
    return y, u


def network(cell: str, bias: float | None, seed: int = 0) -> ss.AutoregressiveRNN:
    """A network that reads the inputs alone; nothing is fed back."""
    net = ss.AutoregressiveRNN(1, 2, hidden_dim=UNITS, cell=cell, family="bernoulli",
                               feedback="none", standardise=False, seed=seed)  # fmt: skip
    if bias is not None:
        with torch.no_grad():  # in torch's order the second gate of both cells keeps
            net.path.kernel.bias_ih_l0[UNITS : 2 * UNITS] = bias
    return net


def learn(name: str, cell: str, bias: float | None, lag: int = LAG, steps: int = 200) -> Found:
    """The flow, a fit, the flow again, and how well the sign is recalled in series held out."""
    (y, u), (y_test, u_test) = recall(400, lag, 0), recall(200, lag, 1)
    net = network(cell, bias)
    few = y_test[:10], u_test[:10]
    start = ss.diagnostics.gradient_flow(net, *few)
    learner = ss.Gradient(steps, lr=1e-2, batch_size=50, schedule="cosine", clip=1.0)
    net.fit(y, u, learner=learner, seed=0)
    loss = -net.score(y_test, u_test).value / len(y_test)
    return Found(name, start, ss.diagnostics.gradient_flow(net, *few), loss)


def table(found: list[Found]) -> str:
    """Rates in nats per step; what is left of a gradient over the whole lag; nats at the end."""
    lines = [f"{'':<18}{'rate at the start':>18}{'over the lag':>14}{'trained':>10}{'loss':>8}"]
    for one in found:
        rate, trained = float(one.start.rate.mean()), float(one.trained.rate.mean())
        left = math.exp(float(one.start.log_norms_back[:, 0].mean()))
        lines.append(f"{one.name:<18}{rate:>18.3f}{left:>14.1e}{trained:>10.3f}{one.loss:>8.3f}")
    return "\n".join(lines)


def draw(found: list[Found]) -> Figure:
    """The norm of d h_T / d h_s over the lag T - s, before and after."""
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for ax, when in zip(axes, ("start", "trained"), strict=True):
        for one, colour in zip(found, COLOURS, strict=True):
            norms = getattr(one, when).log_norms_back.mean(0).flip(0) / math.log(10)
            dash = DASHES.get(one.name.split(", ")[-1], "-")
            ax.plot(norms, dash, color=colour, label=one.name)
        ax.set_title("at the start" if when == "start" else "trained")
        ax.set_xlabel("lag")
        ax.spines[["top", "right"]].set_visible(False)
        ax.margins(x=0.01)
    axes[0].set_ylabel("log10 of the norm of dh_T / dh_s")
    axes[0].legend(frameon=False)
    return figure


def main(figure: bool) -> None:
    """Learns with each cell, prints, draws; asserts who recalls and how far gradients reached."""
    found = [learn(*cell) for cell in CELLS]
    print(table(found))
    print(f"\nA coin's loss is {math.log(2):.3f} nats.")
    if figure:
        draw(found).savefig("gradient_flow.png", dpi=120)
    elman, lstm, _, lstm_ajar, gru_ajar, lstm_open, gru_open = found
    rate = {one.name: float(one.start.rate.mean()) for one in found}
    for blind in (elman, lstm_ajar, gru_ajar):  # e^-17 of a gradient is left, and less
        assert rate[blind.name] < -0.12
        assert blind.loss > 0.6
    for gated in (lstm, lstm_open, gru_open):
        assert rate[gated.name] > -0.08
    for keeps in (lstm_open, gru_open):
        assert keeps.loss < 0.15
        assert abs(float(keeps.trained.rate.mean())) < 0.03


if __name__ == "__main__":
    main("--figure" in sys.argv[1:])
