"""Identifiability: what a change of the state moves, what it leaves alone, and what undoes it."""

import math
from dataclasses import fields

import numpy as np
import pytest
import torch
from realisations import (
    FORMS,
    SIZES,
    assert_same,
    change,
    f64,
    log_likelihood,
    realisation,
)

from statespace import LDS, Fixed, Param, Varying
from statespace.errors import InputError
from statespace.models.lds.canonical import (
    Realisation,
    align,
    eigenvalues,
    impulse_response,
    markov_parameters,
    observability_matrix,
)

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


# ---------------------------------------------------------------------- as methods of a model


def lds(n: int = 3, m: int = 2, p: int = 1, **more) -> LDS:
    s = realisation(n, m, p)
    names = ("A", "B", "b", "C", "D", "d", "Q", "R")
    if "initial" not in more:
        names += ("initial_mean", "initial_cov")
    return LDS(n, m, p, **{name: getattr(s, name) for name in names}, **more)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("initial", ["known", "stationary", "diffuse"])
def test_the_canonical_model_has_the_same_likelihood(form, initial):
    """Data with gaps and inputs: equal likelihoods, up to log |det T| with a diffuse start, and the
    same kind of start."""
    model = lds() if initial == "known" else lds(initial=initial, diffuse_constant=False)
    y, u = torch.randn(30, 2, generator=torch.Generator().manual_seed(3)), torch.ones(30, 1)
    y[4, 1] = y[7] = torch.nan
    new = model.canonical_form(form)
    shift = 0.0
    if initial == "diffuse":
        T = model.align(new).transform
        shift = math.log(abs(float(torch.linalg.det(T))))
    before, after = (float(x.log_likelihood(y, u).detach()) for x in (model, new))
    assert after == pytest.approx(before + shift, rel=1e-8)
    assert new.kinds == model.kinds
    assert new.diffuse_constant == model.diffuse_constant


def test_what_has_no_coordinates_stays_declared():
    """D, d, R and a b held at zero are no freer in the canonical form than before: a free fit and
    its form count the same."""
    plain = LDS(2, 3, seed=0)
    assert plain.canonical_form().num_params == plain.num_params
    R = Param(torch.eye(3), structure="scalar")
    tied = plain.replace(R=R, d=Fixed(torch.ones(3)), A=Fixed(plain.A.detach()))
    new = tied.canonical_form("observer")
    assert new.num_params == tied.num_params + 4, "A was held, and is not"
    assert new.slot("R").n_free == 1
    assert new.slot("d").n_free == new.slot("b").n_free == 0
    assert plain.replace(b=[1.0, 2.0]).canonical_form().slot("b").n_free == 2


def test_questions_to_a_model_are_those_to_its_parameters():
    """The methods of LDS are the functions, without a graph."""
    model, s = lds(), realisation(3, 2, 1)
    assert torch.allclose(model.eigenvalues(), eigenvalues(s.A))
    expected = markov_parameters(s.A, s.B, s.C, s.D, 4)
    assert torch.allclose(model.markov_parameters(4), expected)
    assert torch.allclose(model.impulse_response(4, to="inputs"), expected)
    assert torch.allclose(model.impulse_response(4), impulse_response(s, 4))
    assert not model.impulse_response(4).requires_grad
    assert float(model.align(model).misfit) < 1e-12


def test_two_fits_in_other_coordinates_are_aligned():
    """A model and its canonical form are one system: T takes every parameter to its counterpart."""
    model = lds()
    new = model.canonical_form()
    found = model.align(new)
    assert_same(found.system, Realisation.of(new), atol=1e-7)


def test_what_varies_or_mixes_is_refused():
    """A matrix for every row has no one canonical form; a partly diffuse start none of its kind."""
    s = realisation(2, 1)
    varying = LDS(
        2, 1, A=Varying(s.A.expand(5, 2, 2)), C=s.C, Q=s.Q, R=s.R, d=s.d, initial="diffuse"
    )
    with pytest.raises(InputError, match="`A`: expected a parameter that is constant in time"):
        varying.canonical_form()
    A = Fixed(torch.diag(f64([1.0, 0.5])))
    mixed = LDS(2, 1, A=A, C=s.C, Q=s.Q, R=s.R, d=s.d, initial=["diffuse", "stationary"])
    with pytest.raises(InputError, match="all states diffuse, or none"):
        mixed.canonical_form()
    assert mixed.eigenvalues().shape == (2,)
