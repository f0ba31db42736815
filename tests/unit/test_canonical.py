"""Identifiability: what a change of the state leaves alone, and the forms that undo one."""

import math
from dataclasses import fields

import numpy as np
import pytest
import torch
from oracles import DenseOracle

from statespace.errors import InputError
from statespace.models.lds.canonical import (
    Realisation,
    align,
    canonical_form,
    eigenvalues,
    impulse_response,
    markov_parameters,
    observability_matrix,
)

SIZES = [(1, 1, 0), (1, 3, 1), (2, 1, 1), (3, 2, 2), (4, 2, 0), (5, 3, 1), (2, 4, 1)]
FORMS = ["modal", "observer"]


def f64(x) -> torch.Tensor:
    return torch.as_tensor(np.asarray(x), dtype=torch.float64)


def realisation(n: int, m: int, p: int = 0, seed: int = 0, batch: tuple = ()) -> Realisation:
    """A stable system without structure."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*batch, *shape, dtype=torch.float64, generator=g)

    A = normal(n, n)
    radius = torch.linalg.eigvals(A).abs().amax(-1)[..., None, None]
    w, v, s = normal(n, n), normal(m, m), normal(n, n)
    return Realisation(
        A=0.95 * A / radius,
        B=normal(n, p),
        b=normal(n),
        C=normal(m, n),
        D=normal(m, p),
        d=normal(m),
        Q=w @ w.mT,
        R=v @ v.mT,
        initial_mean=normal(n),
        initial_cov=s @ s.mT,
    )


def change(n: int, seed: int = 1, batch: tuple = ()) -> torch.Tensor:
    """A well-conditioned change of the state."""
    g = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(*batch, n, n, dtype=torch.float64, generator=g)).Q
    return q * torch.linspace(0.5, 3.0, n, dtype=torch.float64)


def assert_same(a: Realisation, b: Realisation, atol: float = 1e-9) -> None:
    for field in fields(Realisation):
        x, y = getattr(a, field.name), getattr(b, field.name)
        assert x.shape == y.shape
        assert torch.allclose(x, y, rtol=1e-8, atol=atol), f"{field.name}: {x} against {y}"


def log_likelihood(s: Realisation, y, u, diffuse=None) -> float:
    """By the dense oracle, inputs folded into the offsets."""
    u = u[:, : s.B.shape[-1]]
    return DenseOracle(
        y, s.A, u @ s.B.mT + s.b, s.Q, s.C, u @ s.D.mT + s.d, s.R, s.initial_mean,
        torch.nan_to_num(s.initial_cov, posinf=0.0, neginf=0.0), diffuse=diffuse,
    ).log_likelihood()  # fmt: skip


# ---------------------------------------------------------------------- a change of the state


@pytest.mark.parametrize("sizes", SIZES)
def test_a_change_of_state_keeps_the_likelihood(sizes):
    """p(y given u) is the same for the state T z, with missing values: every parameter moved as it
    must."""
    n, m, p = sizes
    rng = np.random.default_rng(0)
    y, u = rng.normal(size=(6, m)), f64(rng.normal(size=(6, p)))
    y[2, 0] = np.nan
    s = realisation(n, m, p)
    before, after = log_likelihood(s, y, u), log_likelihood(s.transform(change(n)), y, u)
    assert after == pytest.approx(before, rel=1e-10)


def test_a_diffuse_start_moves_by_the_log_determinant():
    """All states diffuse: the flat measure is stretched, and log p(y) grows by log |det T|."""
    s = realisation(3, 2)
    s = Realisation(**{f.name: getattr(s, f.name) for f in fields(s)} | {
        "initial_cov": torch.eye(3, dtype=torch.float64) * torch.inf,
        "initial_mean": torch.zeros(3, dtype=torch.float64),
    })  # fmt: skip
    s = Realisation(**{**vars(s), "initial_cov": torch.nan_to_num(s.initial_cov, nan=0.0)})
    T = change(3)
    new = s.transform(T)
    y, u = np.random.default_rng(0).normal(size=(6, 2)), torch.zeros(6, 0, dtype=torch.float64)
    shift = math.log(abs(float(torch.linalg.det(T))))
    everywhere = [True, True, True]
    before, after = (log_likelihood(x, y, u, everywhere) for x in (s, new))
    assert after == pytest.approx(before + shift, rel=1e-10)
    assert new.initial_cov.diagonal().isinf().all()


def test_a_diffuse_state_makes_infinite_what_it_is_mixed_into():
    """P is infinite exactly along the states that hold a part of the diffuse one."""
    s = realisation(3, 1)
    cov = (
        torch.diag(torch.tensor([math.inf, 2.0, 3.0])).double().nan_to_num(nan=0.0, posinf=math.inf)
    )
    s = Realisation(**{**vars(s), "initial_cov": cov})
    T = f64([[1, 0, 0], [-2, 1, 0], [0, 0, 4]])
    expected = f64([[math.inf, -math.inf, 0], [-math.inf, math.inf, 0], [0, 0, 48]])
    assert torch.allclose(s.transform(T).initial_cov, expected)


def test_singular_or_misshapen_changes_are_refused():
    """A state that cannot be changed back is no change of state."""
    s = realisation(2, 1)
    with pytest.raises(InputError, match="`T`: expected an invertible matrix"):
        s.transform(torch.zeros(2, 2, dtype=torch.float64))
    with pytest.raises(InputError, match=r"`T`: expected shape \(..., 2, 2\)"):
        s.transform(torch.eye(3, dtype=torch.float64))


# ---------------------------------------------------------------------- what stays


def test_eigenvalues_come_slowest_first():
    """By modulus, equal moduli by angle, the upper one of a pair first, in any coordinates."""
    r, w = 0.9, 0.4
    pair = r * f64([[math.cos(w), math.sin(w)], [-math.sin(w), math.cos(w)]])
    A = torch.block_diag(f64([[0.3]]), pair, f64([[-1.0]]), f64([[1.0]]))
    T = change(5)
    values = eigenvalues(T @ A @ torch.linalg.inv(T))
    up = r * complex(math.cos(w), math.sin(w))
    expected = torch.tensor([1.0, -1.0, up, up.conjugate(), 0.3], dtype=torch.complex128)
    assert torch.allclose(values, expected)


def test_eigenvalues_are_batched():
    """Batched equals looped."""
    A = realisation(4, 1, batch=(2, 3)).A
    values = eigenvalues(A)
    for i in range(2):
        for j in range(3):
            assert torch.allclose(values[i, j], eigenvalues(A[i, j]))


def test_markov_parameters_are_what_an_input_does():
    """H_k is the difference that one unit of u_2 makes to y_2, y_3, ... when the model is run."""
    s = realisation(3, 2, 2)
    responses = markov_parameters(s.A, s.B, s.C, s.D, 5)

    def run(u: torch.Tensor) -> torch.Tensor:
        z, ys = s.initial_mean, []
        for t in range(6):
            z = z if t == 0 else s.A @ z + s.B @ u[t] + s.b
            ys.append(s.C @ z + s.D @ u[t] + s.d)
        return torch.stack(ys)

    for j in range(2):
        u = torch.zeros(6, 2, dtype=torch.float64)
        base = run(u)
        u[1, j] = 1.0
        assert torch.allclose(run(u)[1:] - base[1:], responses[:, :, j])


@pytest.mark.parametrize("sizes", SIZES)
def test_responses_of_y_to_inputs_do_not_change_with_the_state(sizes):
    """Markov parameters are invariant; noise responses keep the covariances that they make."""
    n, m, p = sizes
    s = realisation(n, m, p)
    t = s.transform(change(n))
    for to in ("inputs", "noise"):
        a, b = (impulse_response(x, 7, to=to) for x in (s, t))
        if to == "noise":
            a, b = (torch.einsum("kij,lhj->klih", x, x) for x in (a, b))
        assert torch.allclose(a, b, atol=1e-10)


def test_noise_responses_start_at_the_cholesky_factor():
    """At once, the states move by the lower root of Q; Q of deficient rank is fine."""
    s = realisation(3, 2)
    first = impulse_response(s, 2, of="z")
    assert torch.allclose(first[0], torch.linalg.cholesky(s.Q))
    assert torch.allclose(first[1], s.A @ first[0])
    flat = f64([[4.0, 2.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    root = impulse_response(Realisation(**{**vars(s), "Q": flat}), 1, of="z")[0]
    assert torch.allclose(root, f64([[2.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))


def test_impulse_response_refuses_unknown_words():
    """A misspelt shock is not read as another one."""
    s = realisation(2, 1, 1)
    with pytest.raises(InputError, match="`to`: expected one of"):
        impulse_response(s, 3, to="input")
    with pytest.raises(InputError, match="`of`: expected one of"):
        impulse_response(s, 3, of="x")
    with pytest.raises(InputError, match="`num`: expected at least 1"):
        impulse_response(s, 0)


# ---------------------------------------------------------------------- canonical forms


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("sizes", SIZES)
def test_the_form_undoes_every_change_of_state(sizes, form):
    """A system and the same system in other coordinates have one canonical form."""
    n, m, p = sizes
    s = realisation(n, m, p, seed=n + m)
    here = canonical_form(s, form=form).system
    for seed in range(3):
        there = canonical_form(s.transform(change(n, seed)), form=form).system
        assert_same(here, there, atol=1e-7)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("sizes", SIZES)
def test_the_form_is_the_same_system(sizes, form):
    """The form is what its transform makes of the given system, and has its likelihood."""
    n, m, p = sizes
    s = realisation(n, m, p, seed=n + m)
    found = canonical_form(s, form=form)
    assert_same(found.system, s.transform(found.transform))
    rng = np.random.default_rng(2)
    y, u = rng.normal(size=(5, m)), f64(rng.normal(size=(5, p)))
    expected = log_likelihood(s, y, u)
    assert log_likelihood(found.system, y, u) == pytest.approx(expected, rel=1e-8)
    again = canonical_form(found.system, form=form)
    assert torch.allclose(again.transform, torch.eye(n, dtype=torch.float64), atol=1e-7)


def test_modal_form_looks_as_described():
    """Blocks [[a, w], [-w, a]], w > 0; columns of C of length 1 with the largest entry positive."""
    s = realisation(5, 3, seed=3)
    found = canonical_form(s).system
    values, j = eigenvalues(s.A), 0
    while j < 5:
        size = 1 if values[j].imag == 0 else 2
        rest = found.A[j : j + size].clone()
        rest[:, j : j + size] = 0
        assert (rest == 0).all()
        read = found.C[:, j].to(torch.complex128)
        if size == 2:
            a, w = float(values[j].real), float(values[j].imag)
            assert w > 0
            assert torch.allclose(found.A[j : j + 2, j : j + 2], f64([[a, w], [-w, a]]))
            read = torch.complex(found.C[:, j], found.C[:, j + 1])
        assert float(read.abs().square().sum()) == pytest.approx(1.0)
        largest = read[read.abs().argmax()]
        assert largest.real > 0
        assert abs(float(largest.imag)) < 1e-12
        j += size


def test_observer_form_states_are_future_means():
    """Each state is what the present state adds to one future entry of y, so the rows of C are the
    first unit vectors and chains move up by one."""
    found = canonical_form(realisation(4, 2), form="observer").system
    eye = torch.eye(4, dtype=torch.float64)
    assert torch.equal(found.C, eye[:2])
    assert torch.equal(found.A[:2], eye[2:])


def test_repeated_eigenvalues_have_an_observer_form_only():
    """A local linear trend is one Jordan block: the modal form says so and names the other one."""
    s = realisation(2, 1)
    s = Realisation(**{**vars(s), "A": f64([[1, 1], [0, 1]]), "C": f64([[1, 0]])})
    with pytest.raises(InputError, match=r'distinct eigenvalues.*Use form="observer"'):
        canonical_form(s)
    here = canonical_form(s, form="observer").system
    there = canonical_form(s.transform(change(2)), form="observer").system
    assert_same(here, there)
    assert torch.allclose(here.A, f64([[0, 1], [-1, 2]]))


def test_two_equal_random_walks_have_no_modal_form():
    """Repeated eigenvalues with all their eigenvectors: any rotation of them would do as well."""
    s = realisation(2, 2)
    s = Realisation(**{**vars(s), "A": torch.eye(2, dtype=torch.float64)})
    with pytest.raises(InputError, match="distinct eigenvalues"):
        canonical_form(s)
    assert torch.equal(canonical_form(s, form="observer").system.C, torch.eye(2).double())


@pytest.mark.parametrize("form", FORMS)
def test_a_mode_that_never_reaches_y_is_refused(form):
    """No data can fix the scale of what they do not see."""
    s = realisation(2, 1)
    blind = {"A": torch.diag(f64([0.9, 0.5])), "C": f64([[1, 0]])}
    s = Realisation(**{**vars(s), **blind}).transform(change(2))
    with pytest.raises(InputError, match="to reach y"):
        canonical_form(s, form=form)


@pytest.mark.parametrize("form", FORMS)
def test_forms_are_batched(form):
    """Batched equals looped, also where numbers of real eigenvalues differ in the batch."""
    s = realisation(3, 2, 1, batch=(2, 3))
    found = canonical_form(s, form=form)
    for i in range(2):
        for j in range(3):
            one = Realisation(**{f.name: getattr(s, f.name)[i, j] for f in fields(s)})
            expected = canonical_form(one, form=form)
            cut = {f.name: getattr(found.system, f.name)[i, j] for f in fields(s)}
            assert_same(Realisation(**cut), expected.system)


@pytest.mark.parametrize("form", FORMS)
def test_forms_in_single_precision(form):
    """float32 in, float32 out."""
    s = realisation(3, 2, 1)
    single = Realisation(**{f.name: getattr(s, f.name).float() for f in fields(s)})
    found = canonical_form(single, form=form)
    expected = canonical_form(s, form=form)
    assert found.system.A.dtype == found.transform.dtype == torch.float32
    assert torch.allclose(found.system.A.double(), expected.system.A, atol=1e-3)


def test_no_state_is_a_state_too():
    """n = 0, a regression: forms, responses and eigenvalues are empty and do not fail."""
    s = Realisation(*(torch.zeros(*shape).double() for shape in (
        (0, 0), (0, 1), (0,), (2, 0), (2, 1), (2,), (0, 0), (2, 2), (0,), (0, 0)
    )))  # fmt: skip
    for form in FORMS:
        assert canonical_form(s, form=form).system.C.shape == (2, 0)
    assert eigenvalues(s.A).shape == (0,)
    assert impulse_response(s, 3, to="inputs").shape == (3, 2, 1)
    assert align(s, s).misfit == 0


def test_unknown_form():
    """The sentence lists the forms."""
    with pytest.raises(InputError, match=r"`form`: expected one of \('modal', 'observer'\)"):
        canonical_form(realisation(2, 1), form="companion")


# ---------------------------------------------------------------------- alignment


@pytest.mark.parametrize("sizes", SIZES)
def test_alignment_finds_the_change_of_state(sizes):
    """Of two systems that differ by T alone, T is found, and nothing is left over."""
    n, m, p = sizes
    a, T = realisation(n, m, p), change(n)
    b = a.transform(T)
    found = align(a, b)
    assert torch.allclose(found.transform, T, atol=1e-9)
    assert_same(found.system, b)
    assert float(found.misfit) < 1e-12


def test_alignment_of_different_systems_says_how_different():
    """A change of the dynamics of size 1e-3 is a misfit of about that size, not zero."""
    a = realisation(3, 2)
    other = Realisation(**{**vars(a), "A": a.A + 1e-3 * realisation(3, 2, seed=5).A})
    found = align(a, other.transform(change(3)))
    assert 1e-5 < float(found.misfit) < 1e-2
    assert torch.allclose(found.transform, change(3), atol=0.05)


def test_alignment_does_not_depend_on_the_units_of_y():
    """Outputs of 1e6 and of 1e-6 count alike."""
    a = realisation(3, 2)
    b = Realisation(**{**vars(a), "A": a.A + 1e-3 * realisation(3, 2, seed=5).A})
    scale = f64([1e6, 1e-6])[:, None]
    scaled = [Realisation(**{**vars(s), "C": scale * s.C}) for s in (a, b)]
    assert torch.allclose(align(a, b).transform, align(*scaled).transform, rtol=1e-6)


def test_alignment_is_batched():
    """Batched equals looped."""
    a, T = realisation(3, 2, batch=(4,)), change(3, batch=(4,))
    found = align(a, a.transform(T))
    assert torch.allclose(found.transform, T, atol=1e-8)
    assert found.misfit.shape == (4,)


def test_alignment_refuses_what_it_cannot_do():
    """Different sizes, and a part of the state that y never sees."""
    a = realisation(2, 1)
    with pytest.raises(InputError, match="`b`: expected latent size 2"):
        align(a, realisation(3, 1))
    with pytest.raises(InputError, match="`num`: expected at least the latent size"):
        align(a, a, num=1)
    blind = Realisation(**{**vars(a), "A": torch.diag(f64([0.9, 0.5])), "C": f64([[1, 0]])})
    with pytest.raises(InputError, match="`a`: expected an observable system"):
        align(blind, a)
    with pytest.raises(InputError, match="`b`: expected an observable system"):
        align(a, blind)


def test_observability_matrix_is_what_the_state_says_of_the_future():
    """Block k is C A^k."""
    s = realisation(3, 2)
    o = observability_matrix(s.A, s.C, 4).reshape(4, 2, 3)
    for k in range(4):
        assert torch.allclose(o[k], s.C @ torch.linalg.matrix_power(s.A, k))
