"""The autoregressive recurrent network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import Distribution

from statespace.errors import InputError, expected
from statespace.files import register
from statespace.inference import TeacherForcing
from statespace.interface import Autoregressive, Context, Path
from statespace.learning import Gradient
from statespace.models.shared.networks import NetworkModel, check_counts, drawn_from
from statespace.models.shared.slots import check_dtype, check_sizes
from statespace.nn import Beside, Dropout, Feedforward, Numbers, emission_head, reader_of, recurrent
from statespace.sequences import read_count
from statespace.shapes import join

__all__ = ["AutoregressiveRNN"]

_READS = {"both": {"y", "u"}, "output": {"y", "u"}, "none": {"u"}}


@register("AutoregressiveRNN")
class AutoregressiveRNN(NetworkModel, Autoregressive):
    """A recurrent network that is told its own output: nothing is latent, likelihoods are exact.

        h_t = cell(h_{t-1}, [y_{t-1}, u_t, c])
        y_t ~ p(y_t | h_t)

    What is fed back, by `feedback` (Goodfellow, Bengio and Courville 2016, section 10.2):

        "both"      h_t reads h_{t-1} and y_{t-1}: any dependence on the past
        "output"    h_t reads y_{t-1} but not h_{t-1}: recurrence through the output alone, so that
                    training is parallel over time
        "none"      h_t reads h_{t-1} but no output: p(y | u) = prod_t p(y_t | u_1 .. u_t), so that
                    the outputs are independent of each other once the inputs are known

    What the verbs mean here. `log_likelihood` is exact, by `TeacherForcing`; where an entry that
    is fed back was not observed, it is drawn inside particles, and the kind is `estimate`.
    `filter` gives one-step-ahead predictions of y, and `smooth` imputes what is missing; there is
    no z (it is zero wide). `forecast` and `sample` feed back what they draw.

    Numbers are put in units of the training data when the first fit begins, and the head begins
    at their level; densities are in the units of the data always. Tokens are int64, with
    obs_dim=1.

    Args:
        obs_dim: m, the size of y.
        input_dim: p, the size of u.
        hidden_dim: H, the size of h.
        layers: How many cells on top of each other.
        cell: "gru" (torch's; the reset gate acts behind the recurrent product), "lstm" or "rnn".
        family: "gaussian", "student_t", "multivariate_normal", "multivariate_student_t",
            "mixture", "bernoulli", "poisson", "categorical", or a Module whose call with features
            (*, H) returns a Distribution of event shape (m,).
        feedback: "both", "output" or "none".
        num_categories: V, of a categorical y, which holds 0 .. V - 1.
        num_components: Of a mixture of Gaussians.
        embedding_dim: The width of a token's vector; min(V, H) if None.
        condition_dim: The size of one vector c per series (`condition=` of the verbs).
        skip: How many of the rows that the memory read last stand beside h_t for the head to see,
            which then adds a linear map of its features.
        layer_norm: Normalise inside the cells; slower, since no kernel is fused.
        dropout: The share of features left out of what a cell or the head reads, while a learner
            climbs; recurrent weights are spared (Zaremba, Sutskever and Vinyals 2014).
        min_scale: A floor under the scales of y, in standard deviations of the training data.
        standardise: Whether units and level are taken from the data of the first fit.
        dtype: torch.float32 or torch.float64.
        seed: Of the start weights.

    Raises:
        InputError, InputTypeError: an argument out of range, or one that the family has no use
            for; feedback="none" with neither inputs nor a condition.

    Example:
        >>> import statespace as ss
        >>> letters = "helo"
        >>> y = torch.tensor([letters.index(letter) for letter in "hello"])
        >>> rnn = AutoregressiveRNN(
        ...     1, family="categorical", num_categories=4, hidden_dim=8, seed=0
        ... )
        >>> fit = rnn.fit(y, learner=ss.Gradient(150, lr=0.05), seed=0)
        >>> "".join(letters[k] for k in rnn.sample(5, seed=0).y[:, 0])
        'hello'
    """

    def __init__(
        self,
        obs_dim: int,
        input_dim: int = 0,
        *,
        hidden_dim: int,
        layers: int = 1,
        cell: str = "gru",
        family: Any = "gaussian",
        feedback: str = "both",
        num_categories: int | None = None,
        num_components: int | None = None,
        embedding_dim: int | None = None,
        condition_dim: int = 0,
        skip: int = 0,
        layer_norm: bool = False,
        dropout: float = 0.0,
        min_scale: float = 1e-3,
        standardise: bool = True,
        dtype: torch.dtype = torch.float32,
        seed: int | None = None,
    ) -> None:
        settings = {k: v for k, v in locals().items() if k not in ("self", "__class__", "seed")}
        super().__init__()
        check_sizes(0, obs_dim, input_dim)
        check_dtype(dtype)
        check_counts(hidden_dim=hidden_dim, layers=layers)
        skip = read_count(skip, name="skip", at_least=0)
        self._remember(**{**settings, "skip": skip})
        self.obs_dim, self.input_dim, self.feedback = obs_dim, input_dim, feedback
        self.categorical = num_categories is not None
        self.reads = frozenset(_read_feedback(feedback, input_dim + condition_dim))
        self.dropped = Dropout(dropout)
        with drawn_from(seed):
            width = embedding_dim or min(num_categories or obs_dim, hidden_dim)
            self.seen = reader_of(obs_dim, num_categories, width, dtype)
            self.inputs_seen = Numbers(input_dim, dtype)
            features = input_dim + ("y" in self.reads) * self.seen.width
            path = (
                Feedforward(
                    features, hidden_dim, layers=layers, condition_dim=condition_dim,
                    dropout=dropout, dtype=dtype,
                )
                if feedback == "output"
                else recurrent(
                    features, hidden_dim, cell, layers=layers, layer_norm=layer_norm,
                    condition_dim=condition_dim, dropout=dropout, dtype=dtype,
                )
            )  # fmt: skip
            whole = Beside(path, skip, dropout) if skip else path
            self.path: Path = whole
            self.head = emission_head(
                family, whole.hidden_dim, obs_dim, skip=skip > 0,
                num_categories=num_categories, num_components=num_components,
                min_scale=min_scale, dtype=dtype,
            )  # fmt: skip

    # ------------------------------------------------------------------ the contract

    def feed(self, z: Any, y: Any, ctx: Context) -> Tensor:
        """x_t = [y_{t-1}, u_t], in the network's units."""
        u = self.inputs_seen(ctx.u)
        x = u if y is None else join(self.seen(y), u)
        return x if isinstance(self.path, Beside) else self.dropped(x)

    def origin(self, batch_shape: Size) -> tuple[Tensor, Tensor]:
        """No z; before the first row y is what the network sees as zero, or the start symbol."""
        z, _ = super().origin(batch_shape)
        return z, self.seen.origin(batch_shape)

    def emission(self, z: Tensor, ctx: Context) -> Distribution:
        """p(y_t | h_t)."""
        h = ctx.h
        if isinstance(self.path, Beside):  # a line is drawn through rows that are whole
            own = h.shape[-1] - self.path.shown
            h = torch.cat([self.dropped(h[..., :own]), h[..., own:]], -1)
        else:
            h = self.dropped(h)
        density: Distribution = self.head(h)
        return density

    def default_method(self) -> TeacherForcing:
        """Exact; particles where something that is fed back was not observed."""
        return TeacherForcing()

    def default_learner(self) -> Gradient:
        """Back-propagation through time."""
        return Gradient(steps=500, lr=5e-3, clip=1.0)


def _read_feedback(feedback: Any, known: int) -> set[str]:
    if not isinstance(feedback, str) or feedback not in _READS:
        words = '"both", "output" or "none"'
        raise InputError(expected("feedback", words, repr(feedback), "Choose one of them."))
    if feedback == "none" and not known:
        todo = 'Give input_dim= or condition_dim=, or feedback="both".'
        wanted = '"both" or "output" where there is neither input nor condition'
        raise InputError(expected("feedback", wanted, '"none"', todo))
    return _READS[feedback]
