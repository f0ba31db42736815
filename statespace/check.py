"""`check_model`: the contract, run against a model of your own. `citation`: what to cite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from statespace.beliefs import Tree
from statespace.densities import observed_log_prob
from statespace.errors import StateSpaceError
from statespace.inference import ParticleFilter
from statespace.interface import Context, StateSpaceModel
from statespace.interface.arguments import named
from statespace.interface.walking import advance, begin, prior_at, row_of_z, view
from statespace.sequences import Sequences, read_count
from statespace.shapes import leaves, tmap

__all__ = ["check_model", "citation"]

_BATCH = 3


@named
def check_model(model: StateSpaceModel, *, num_steps: int = 5, seed: int = 0) -> tuple[str, ...]:
    """Holds a model to the contract, on data that it drew itself.

    Args:
        model: Any model, with parameters.
        num_steps: T of the series that are drawn, at least 3.
        seed: Of all that is drawn.

    Returns:
        The promises that it keeps, as sentences.

    Raises:
        StateSpaceError: it breaks one; the sentence says which, and by how much.

    Example:
        >>> import statespace as ss
        >>> model = ss.LDS(1, 1, A=[[0.5]], C=[[1.0]], d=[0.0], Q=[[1.0]], R=[[1.0]],
        ...                initial="stationary")
        >>> kept = ss.check_model(model)
        >>> kept[0]
        'shapes: a sample has the shapes that `latent` and `obs_dim` say'
    """
    num_steps = read_count(num_steps, name="num_steps", at_least=3)
    case = _Case(model, num_steps, seed)
    kept = []
    for promise in _PROMISES:
        problem = promise(case)
        sentence = (promise.__doc__ or "").strip().rstrip(".")
        if problem is not None:
            raise StateSpaceError(f"{type(model).__name__} breaks a promise. {sentence}: {problem}")
        kept.append(sentence)
    return tuple(kept)


class _Case:
    """A model with series of its own: z, y and u of a batch, all of full length."""

    def __init__(self, model: StateSpaceModel, num_steps: int, seed: int) -> None:
        self.model, self.T, self.seed = model, num_steps, seed
        generator = torch.Generator().manual_seed(seed)
        shape = (_BATCH, num_steps, model.input_dim)
        self.u = torch.randn(shape, generator=generator).to(model.device, model.dtype)
        drawn = model.sample(num_steps, inputs=self.inputs, **self.several, seed=seed)
        self.z, self.y = drawn.z, drawn.y

    @property
    def inputs(self) -> Tensor | None:
        """None where the model has none."""
        return self.u if self.model.input_dim else None

    @property
    def several(self) -> dict[str, Any]:
        """How to ask for a batch: by the inputs, else by a sample axis."""
        return {} if self.model.input_dim else {"sample_shape": (_BATCH,)}

    def log_joint(self, z: Tree, y: Tensor, **more: Any) -> Tensor:
        """The model's, without a graph."""
        with torch.no_grad():
            return self.model.log_joint(z, y, self.inputs, **more)

    def sequences(self) -> Sequences:
        """The case as the model sees it behind the door."""
        batch = self.y.shape[:-2]
        lengths = torch.full(batch, self.T, device=self.y.device)
        return Sequences(self.y, torch.ones_like(self.y, dtype=torch.bool), lengths, self.u)


def _apart(a: Tensor, b: Tensor) -> str | None:
    """What to say where two tensors are not the same to rounding."""
    if a.shape != b.shape:
        return f"shapes {tuple(a.shape)} and {tuple(b.shape)}"
    tolerance = 1e3 * torch.finfo(a.dtype).eps
    close = torch.isclose(a, b, rtol=tolerance, atol=tolerance) | (a == b)
    worst = float((a - b).abs().nan_to_num().max())
    return None if bool(close.all()) else f"off by up to {worst:.3g}"


def _shapes(case: _Case) -> str | None:
    """shapes: a sample has the shapes that `latent` and `obs_dim` say."""
    model, lead = case.model, (_BATCH, case.T)
    origin = model.origin(torch.Size(lead))[0]
    wanted = [tuple(x.shape) for x in leaves(origin)]
    found = [tuple(x.shape) for x in leaves(case.z)]
    if wanted != found:
        return f"z has shapes {found}, not {wanted}"
    if case.y.shape != (*lead, model.obs_dim):
        return f"y has shape {tuple(case.y.shape)}, not {(*lead, model.obs_dim)}"
    return None


def _stepped(case: _Case) -> str | None:
    """time: log_joint over all of time at once equals the sum over single steps."""
    model, data = case.model, case.sequences()
    total = torch.zeros(_BATCH, dtype=model.dtype, device=model.device)
    with torch.no_grad():
        at = begin(model, (_BATCH,), ())
        z, y, memory = at.z, at.y, at.memory
        for t in range(case.T):
            u, now = case.u[:, t], row_of_z(model, case.z, t)
            step = torch.tensor(t, device=u.device)
            if model.order == "h then z":
                memory, h = advance(model, memory, z, y, step, u)
                log_z = prior_at(model, t, z, Context(step, u, h)).log_prob(now)
            else:
                h = view(model, memory, u)
                log_z = prior_at(model, t, z, Context(step, u, h)).log_prob(now)
                memory, h = advance(model, memory, now, y, step, u)
            z, y = now, data.values[:, t]
            emission = model.emission(z, Context(step, u, h))
            total = total + log_z + observed_log_prob(emission, y, data.observed[:, t])
    return _apart(case.log_joint(case.z, case.y), total)


def _sample_axis(case: _Case) -> str | None:
    """samples: an axis left of the batch changes nothing."""
    copies = tmap(lambda x: x.expand(2, *x.shape), case.z)
    once = case.log_joint(case.z, case.y)
    return _apart(case.log_joint(copies, case.y), once.expand(2, *once.shape))


def _batch(case: _Case) -> str | None:
    """batch: series by series gives what the batch gives."""
    model = case.model
    ones = []
    for i in range(_BATCH):
        u = None if case.inputs is None else case.inputs[i]
        with torch.no_grad():
            ones.append(model.log_joint(tmap(lambda x, i=i: x[i], case.z), case.y[i], u))
    return _apart(case.log_joint(case.z, case.y), torch.stack(ones))


def _padding(case: _Case) -> str | None:
    """padding: rows beyond the end of a series contribute nothing."""
    model, short = case.model, case.T - 1
    z = tmap(lambda x: x[:, :short], case.z)
    u = None if case.inputs is None else case.inputs[:, :short]
    with torch.no_grad():
        cut = model.log_joint(z, case.y[:, :short], u)
    lengths = torch.full((_BATCH,), short, device=case.y.device)
    return _apart(case.log_joint(case.z, case.y, lengths=lengths), cut)


def _gradient(case: _Case) -> str | None:
    """gradient: that of log_joint is finite in every parameter."""
    wanted = [(n, p) for n, p in case.model.named_parameters() if p.requires_grad]
    value = case.model.log_joint(case.z, case.y, case.inputs).sum()
    if not value.requires_grad:
        return None
    found = torch.autograd.grad(value, [p for _, p in wanted], allow_unused=True)
    bad = [n for (n, _), g in zip(wanted, found, strict=True) if g is not None and _infinite(g)]
    return f"not finite in {', '.join(bad)}" if bad else None


def _infinite(x: Tensor) -> bool:
    return not bool(torch.isfinite(x).all())


def _randomness(case: _Case) -> str | None:
    """randomness: one seed gives one sample, and torch's own generator is left alone."""
    before = torch.get_rng_state()
    again = case.model.sample(case.T, inputs=case.inputs, **case.several, seed=case.seed)
    if not torch.equal(before, torch.get_rng_state()):
        return "sample moved torch's generator"
    same = all(torch.equal(a, b) for a, b in zip(leaves(case.z), leaves(again.z), strict=True))
    return None if same and torch.equal(case.y, again.y) else "two samples of one seed differ"


def _particles(case: _Case) -> str | None:
    """particles: a plain particle filter runs, with a missing row and a forecast after it."""
    mask = torch.ones(case.y.shape[:-1], dtype=torch.bool)
    mask[:, 1] = False
    u = None if case.inputs is None else torch.cat([case.inputs, case.inputs[:, :2]], 1)
    method = ParticleFilter(50)
    found = case.model.filter(case.y, case.inputs, mask=mask, method=method, seed=case.seed)
    if bool(torch.isnan(found.log_likelihood).any()):
        return "its log-likelihood is NaN"
    ahead = case.model.forecast(
        case.y, horizon=2, inputs=u, mask=mask, method=method, seed=case.seed
    )
    if ahead.samples is None or _infinite(ahead.samples.double()):
        return "its forecast is not finite"
    return None


_PROMISES: tuple[Callable[[_Case], str | None], ...] = (
    _shapes,
    _stepped,
    _sample_axis,
    _batch,
    _padding,
    _gradient,
    _randomness,
    _particles,
)

_LIBRARY = "@software{statespace, title={statespace: state-space models in PyTorch}, year={2025}}"


def citation(*used: Any) -> str:
    """BibTeX entries: of the library, and of the sources of the models and methods named.

    Args:
        *used: Models, methods and learners, or their classes.

    Example:
        >>> import statespace as ss
        >>> print(citation(ss.ParticleFilter)[:9])
        @software
    """
    entries = [_LIBRARY]
    for thing in used:
        kind = thing if isinstance(thing, type) else type(thing)
        entries += [entry for entry in getattr(kind, "references", ()) if entry not in entries]
    return "\n\n".join(entries)
