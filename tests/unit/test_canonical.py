"""Canonical forms: one system to stand for all that differ by a change of state."""

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

from statespace.errors import InputError
from statespace.models.lds.canonical import (
    Realisation,
    align,
    canonical_form,
    eigenvalues,
    impulse_response,
)


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
        assert largest.imag == 0
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
