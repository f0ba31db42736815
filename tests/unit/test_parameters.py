"""Parameters: what is declared is what is learned, held, tied and read back."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from statespace.errors import InputError, InputTypeError
from statespace.parameters import (
    CovarianceSlot,
    Fixed,
    InverseWishart,
    Normal,
    Param,
    Slot,
    Varying,
    declared,
)

F64 = torch.float64


def matrix(value: object, rows: int = 2, columns: int = 2, dtype: torch.dtype = F64) -> Slot:
    return Slot("A", (rows, columns), ("latent", "input"), declared(value), dtype=dtype)


def covariance(value: object, n: int = 2, dtype: torch.dtype = F64) -> CovarianceSlot:
    return CovarianceSlot("Q", (n, n), ("latent", "latent"), declared(value), dtype=dtype)


def spd(n: int, *batch: int, seed: int = 0) -> Tensor:
    root = torch.randn(*batch, n, n + 2, dtype=F64, generator=torch.Generator().manual_seed(seed))
    return root @ root.mT


class TestLearned:
    """A bare value, or a Param, is a start value."""

    def test_bare_value_is_learned(self):
        """Numbers given bare come back, as one learnable tensor."""
        slot = matrix([[1.0, 2.0], [3.0, 4.0]])
        assert slot.value().tolist() == [[1.0, 2.0], [3.0, 4.0]]
        assert slot.n_free == 4
        assert slot.value().requires_grad
        assert [name for name, _ in slot.named_parameters()] == ["theta"]

    def test_start_value_does_not_keep_a_graph(self):
        """Only Fixed and Varying keep the graph of what they were given."""
        value = torch.ones(2, 2, dtype=F64, requires_grad=True)
        slot = matrix(Param(value, free=[[True, False], [True, True]]))
        slot.value().sum().backward()
        assert value.grad is None

    def test_without_value_it_is_not_set(self):
        """Reading a parameter that has no value yet is a sentence that says what to do."""
        slot = matrix(None)
        assert not slot.is_set
        assert slot.n_free == 4
        with pytest.raises(InputError, match=r"`A`: expected a value.*Call fit first, or give A="):
            slot.value()
        slot.set_([[1.0, 0.0], [0.0, 1.0]])
        assert slot.is_set

    def test_start_false_holds_what_is_held_and_waits_for_the_rest(self):
        """start=False keeps held entries and leaves the free ones to fit."""
        slot = matrix(
            Param([[0.0, 0.0], [1.0, 0.0]], free=[[True, True], [False, False]], start=False)
        )
        assert not slot.is_set
        slot.set_([[0.5, 0.2], [9.0, 9.0]])
        assert slot.value().tolist() == [[0.5, 0.2], [1.0, 0.0]]

    def test_set_is_in_place(self):
        """An optimiser that holds theta sees what set_ writes."""
        slot = matrix([[1.0, 2.0], [3.0, 4.0]])
        before = slot.theta
        slot.set_(torch.zeros(2, 2))
        assert slot.theta is before
        assert not slot.value().any()

    @pytest.mark.parametrize(("structure", "count"), [("diag", 2), ("scalar", 1), ("identity", 0)])
    def test_structures(self, structure, count):
        """diag, scalar and identity free n, 1 and 0 numbers; off-diagonal entries are zero."""
        slot = matrix(Param(structure=structure))
        assert slot.n_free == count
        slot.set_([[2.0, 7.0], [7.0, 4.0]])
        want = {"diag": [2.0, 4.0], "scalar": [3.0, 3.0], "identity": [1.0, 1.0]}[structure]
        assert slot.value().tolist() == torch.diag(torch.tensor(want)).tolist()

    def test_ties_and_negative_labels(self):
        """Equal labels share a number, a negative one has its negative; set_ takes the mean."""
        slot = matrix(Param([[0.9, 0.3], [-0.3, 0.9]], labels=[[1, 2], [-2, 1]]))
        assert slot.n_free == 2
        assert slot.names() == ["A[0,0]", "A[0,1]"]
        slot.set_([[1.0, 2.0], [3.0, 4.0]])
        assert slot.value().tolist() == [[2.5, -0.5], [0.5, 2.5]]

    def test_a_negative_label_that_comes_first(self):
        """The first entry of a tie is positive, whatever its label's sign."""
        slot = matrix(Param([[-1.0, 1.0], [0.0, 2.0]], labels=[[-7, 7], [0, 0]]))
        assert slot.n_free == 3
        assert slot.entries().tolist() == [-1.0, 0.0, 2.0]

    @given(st.data())
    def test_basis_spans_the_value(self, data):
        """vec(value) = base + M entries(), for any mask and labels."""
        labels = data.draw(st.lists(st.integers(-3, 3), min_size=6, max_size=6))
        free = data.draw(st.lists(st.booleans(), min_size=6, max_size=6))
        held = torch.tensor(free).view(2, 3)
        tied = torch.tensor(labels).view(2, 3) * held
        start = torch.arange(6.0, dtype=F64).view(2, 3)
        slot = matrix(Param(start, free=held, labels=tied, start=False), 2, 3)
        slot.set_(start)
        base, m = slot.basis()
        assert torch.equal(base + m @ slot.entries(), slot.value().flatten())
        assert m.shape == (6, slot.n_free) == (6, len(slot.names()))
        assert bool((m.abs().sum(0) > 0).all()), "every learned number is read somewhere"
        where_held = ~held
        assert torch.equal(slot.value()[where_held], start[where_held])

    @given(st.data())
    def test_projection_is_the_nearest(self, data):
        """set_ gives the least-squares projection on what structure and ties allow."""
        labels = torch.tensor(data.draw(st.lists(st.integers(-2, 2), min_size=4, max_size=4)))
        wanted = torch.tensor(data.draw(st.lists(st.floats(-5, 5), min_size=4, max_size=4)))
        slot = matrix(Param(labels=labels.view(2, 2)))
        slot.set_(wanted.view(2, 2).double())
        base, m = slot.basis()
        fitted = torch.linalg.pinv(m) @ (wanted.double() - base)
        assert torch.allclose(slot.value().flatten(), base + m @ fitted, atol=1e-12)

    def test_batch_axes(self):
        """Leading axes are models of their own."""
        start = torch.arange(12.0, dtype=F64).view(3, 2, 2)
        slot = matrix(Param(start, structure="full"))
        assert slot.batch_shape == (3,)
        assert torch.equal(slot.value(), start)
        tied = matrix(Param(labels=[[1, 1], [0, 0]]))
        tied.set_(start)
        assert tied.theta is not None
        assert tied.theta.shape == (3, 3)
        assert torch.equal(tied.value()[:, 0, 0], start[:, 0].mean(-1))

    def test_one_number_for_one_entry(self):
        """A bare number serves where there is exactly one entry."""
        assert matrix(0.5, 1, 1).value().tolist() == [[0.5]]
        with pytest.raises(InputError, match=r"expected shape \(..., latent=2, input=2\)"):
            matrix(0.5)

    def test_dtype(self):
        """Values take the model's dtype, integers too."""
        slot = matrix(np.eye(2, dtype=np.int64), dtype=torch.float32)
        assert slot.value().dtype == torch.float32
        assert slot.to(torch.float64).value().dtype == F64


class TestHeld:
    """Fixed and Varying hold the very tensor they were given."""

    def test_identity_and_graph(self):
        """A fixed value is that tensor, and gradients reach what made it."""
        angle = torch.tensor(0.3, dtype=F64, requires_grad=True)
        value = torch.stack([angle.cos(), angle.sin(), -angle.sin(), angle.cos()]).view(2, 2)
        slot = matrix(Fixed(value))
        assert slot.value() is value
        assert slot.n_free == 0
        assert not list(slot.parameters())
        slot.value().sum().backward()
        assert angle.grad is not None
        assert torch.allclose(angle.grad, -2 * angle.sin())

    def test_copy_shares_what_has_a_graph(self):
        """copy.deepcopy works, and the copy still depends on the giver's tensor."""
        leaf = torch.eye(2, dtype=F64, requires_grad=True)
        twin = copy.deepcopy(matrix(Fixed(2 * leaf)))
        twin.value().sum().backward()
        assert leaf.grad is not None
        assert bool((leaf.grad == 2).all())
        own = matrix(torch.eye(2))
        twin = copy.deepcopy(own)
        twin.set_(torch.zeros(2, 2))
        assert torch.equal(own.value(), torch.eye(2, dtype=F64))

    def test_to_dtype_keeps_the_graph(self):
        """.to(dtype) converts and gradients still arrive."""
        leaf = torch.eye(2, dtype=F64, requires_grad=True)
        slot = matrix(Fixed(leaf)).to(torch.float32)
        slot.value().sum().backward()
        assert slot.value().dtype == torch.float32
        assert leaf.grad is not None

    def test_varying(self):
        """A Varying value has T rows and is held; with Param inside, each row is learned."""
        rows = torch.randn(5, 2, 2, dtype=F64)
        slot = matrix(Varying(rows))
        assert slot.varies
        assert slot.num_rows == 5
        assert slot.n_free == 0
        assert slot.value() is rows
        learned = matrix(Varying(Param(rows, free=[[True, False], [False, True]], start=True)))
        assert learned.theta is not None
        assert learned.theta.shape == (5, 2)
        assert torch.equal(learned.value(), rows)
        assert learned.names()[2] == "A[t=1][0,0]"
        batch = matrix(Varying(rows.expand(3, 5, 2, 2)))
        assert batch.batch_shape == (3,)
        assert batch.num_rows == 5

    def test_varying_without_rows_is_refused(self):
        """A single matrix is not a Varying value."""
        with pytest.raises(InputError, match="one row for every step: give T rows, or use Fixed"):
            matrix(Varying(torch.eye(2)))


class TestCovariance:
    """Covariances are learned through a root, block by block."""

    @pytest.mark.parametrize("value", [spd(3), spd(3)[:, :1] @ spd(3)[:1], torch.zeros(3, 3)])
    def test_full(self, value):
        """Any covariance comes back, singular ones and zero too, with root root' = matrix."""
        value = 0.5 * (value + value.mT) if value.any() else value
        if torch.linalg.matrix_rank(value) == 1:
            v = spd(3)[:, :1]
            value = v @ v.mT
        slot = covariance(value, 3)
        p = slot.covariance()
        assert torch.allclose(p.matrix, value.to(F64), atol=1e-12 * float(value.abs().max() + 1))
        assert torch.allclose(p.root @ p.root.mT, p.matrix, atol=1e-12)
        assert slot.n_free == 6
        assert slot.names()[1] == "Q[1,0]"
        assert torch.equal(p.root, p.root.tril())

    @pytest.mark.parametrize(("structure", "count"), [("diag", 3), ("scalar", 1), ("identity", 0)])
    def test_structures(self, structure, count):
        """set_ projects on the structure: the diagonal, its mean, or nothing."""
        slot = covariance(Param(structure=structure), 3)
        assert slot.n_free == count
        target = spd(3)
        slot.set_(target)
        diagonal = {
            "diag": target.diagonal(),
            "scalar": target.diagonal().mean().expand(3),
            "identity": torch.ones(3, dtype=F64),
        }[structure]
        assert torch.allclose(slot.value(), torch.diag(diagonal))

    def test_blocks_learned_and_held(self):
        """A free block beside a held one: the held one stays, the free one has its own root."""
        free = torch.zeros(3, 3, dtype=torch.bool)
        free[0, 0] = True
        held = torch.tensor([[1.0, 0, 0], [0, 2.0, 1.0], [0, 1.0, 3.0]])
        slot = covariance(Param(held, free=free), 3)
        slot.set_(spd(3))
        want = held.to(F64).clone()
        want[0, 0] = spd(3)[0, 0]
        p = slot.covariance()
        assert torch.allclose(p.matrix, want)
        assert torch.allclose(p.root @ p.root.mT, want)
        assert slot.names() == ["Q[0,0]"]

    def test_blocks_need_not_be_neighbours(self):
        """Blocks are found by what hangs together, in any order of rows."""
        free = torch.eye(4, dtype=torch.bool)
        free[0, 2] = free[2, 0] = True
        slot = covariance(Param(free=free), 4)
        target = spd(4)
        slot.set_(target)
        assert torch.allclose(slot.value(), target * free)
        assert slot.n_free == 5

    def test_tied_blocks(self):
        """Two blocks with the same labels are one covariance: the mean of the two."""
        labels = torch.tensor([[1, 2, 0, 0], [2, 3, 0, 0], [0, 0, 1, 2], [0, 0, 2, 3]])
        slot = covariance(Param(free=labels > 0, labels=labels), 4)
        target = spd(4)
        slot.set_(target)
        mean = 0.5 * (target[:2, :2] + target[2:, 2:])
        assert slot.n_free == 3
        assert torch.allclose(slot.value(), torch.block_diag(mean, mean))

    @pytest.mark.parametrize("n", [2, 3, 5])
    def test_one_variance_and_one_covariance(self, n):
        """Equal variances and equal covariances: their means, and always a covariance."""
        labels = torch.full((n, n), 2) - torch.eye(n, dtype=torch.int64)
        slot = covariance(Param(labels=labels), n)
        target = spd(n)
        slot.set_(target)
        variance = target.diagonal().mean()
        off = (target.sum() - n * variance) / (n * (n - 1))
        want = torch.full((n, n), float(off), dtype=F64) + torch.eye(n) * (variance - off)
        assert slot.n_free == 2
        assert torch.allclose(slot.value(), want)

    def test_basis(self):
        """vec(P) = base + M entries(), with entries() at the places that names() names."""
        for param in (Param(spd(3)), Param(torch.eye(3), "scalar"), Param(torch.eye(3), "diag")):
            slot = covariance(param, 3)
            base, m = slot.basis()
            assert torch.allclose(base + m @ slot.entries(), slot.value().flatten())

    def test_sign_of_the_root_is_harmless(self):
        """A negative standard deviation is the same covariance; zero is allowed."""
        slot = covariance(Param([[4.0, 0.0], [0.0, 0.0]], structure="diag"))
        assert slot.theta is not None
        with torch.no_grad():
            slot.theta.neg_()
        assert slot.value().tolist() == [[4.0, 0.0], [0.0, 0.0]]

    def test_held_root_follows_its_tensor(self):
        """A held covariance that its owner changes in place is read afresh."""
        value = torch.eye(2, dtype=F64)
        slot = covariance(Fixed(value))
        assert torch.equal(slot.covariance().root, torch.eye(2, dtype=F64))
        value.mul_(4.0)
        assert torch.equal(slot.covariance().root, 2 * torch.eye(2, dtype=F64))

    def test_batch_and_varying(self):
        """Leading axes and rows in time carry through the root."""
        slot = covariance(spd(2, 4))
        assert slot.batch_shape == (4,)
        assert torch.allclose(slot.value(), spd(2, 4))
        rows = covariance(Varying(Param(spd(2, 7))))
        assert rows.theta is not None
        assert rows.theta.shape == (7, 3)
        assert torch.allclose(rows.covariance().matrix, spd(2, 7))

    def test_gradient(self):
        """The covariance is differentiable in theta, checked against finite differences."""
        slot = covariance(spd(2))
        weight = spd(2, seed=1)
        assert slot.theta is not None
        theta = slot.theta.detach().clone().requires_grad_(True)

        def loss(value: Tensor) -> Tensor:
            found = torch.func.functional_call(slot, {"theta": value}, ())
            return (found * weight).sum()

        slot.forward = slot.value  # type: ignore[method-assign]
        assert torch.autograd.gradcheck(loss, (theta,))

    @pytest.mark.parametrize(
        ("param", "words"),
        [
            (Fixed([[1.0, 2.0], [2.0, 1.0]]), "positive semidefinite"),
            (Fixed([[1.0, 0.5], [0.4, 1.0]]), "symmetric"),
            (Param([[-1.0, 0.0], [0.0, 1.0]], "diag"), "positive semidefinite"),
            (Param([[1.0, 0.5], [0.5, 1.0]], "diag"), "obeys its own structure"),
            (Param([[1.0, 0.0], [0.0, 2.0]], "scalar"), "obeys its own structure"),
            (Param([[1.0, 0.0], [0.0, 2.0]], "identity"), "obeys its own structure"),
            (Param(free=[[True, True], [False, True]]), "symmetric mask"),
            (Param([[1.0, 0.5], [0.5, 1.0]], free=[[True, False], [False, True]]), "as a whole"),
            (Param(labels=[[1, 2], [3, 1]]), "symmetric labels"),
            (Param(structure="diag", labels=[[1, 0], [0, -1]]), "negative"),
            (Param(prior=Normal()), "InverseWishart"),
        ],
    )
    def test_refusals(self, param, words):
        """What no covariance can be is refused with a sentence."""
        with pytest.raises(InputError, match=words):
            covariance(param)

    def test_ties_that_no_root_can_express(self):
        """Other ties are refused and the sentence says which are possible."""
        with pytest.raises(InputError, match="between variances, between whole blocks"):
            covariance(Param(labels=[[1, 0, 0], [0, 1, 0], [0, 0, 1]]), 3)


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        ([[1.0, float("nan")], [0.0, 0.0]], InputError, "NaN"),
        ([[1.0, float("inf")], [0.0, 0.0]], InputError, "inf"),
        (torch.ones(2, 2, dtype=torch.bool), InputTypeError, "bool"),
        (torch.ones(2, 2, dtype=torch.complex64), InputTypeError, "complex"),
        ("A", InputTypeError, "numbers"),
        ([[1.0], [1.0, 2.0]], InputTypeError, "ragged"),
        (torch.ones(2), InputError, r"shape \(2,\)"),
        (Param(free=[[1, 0], [0, 1]]), InputTypeError, "booleans"),
        (Param(free=[True, False]), InputError, "one entry for each entry"),
        (Param(labels=[[0.5, 1.0], [1.0, 1.0]]), InputTypeError, "integers"),
        (Param([[1.0, 2.0], [3.0, 4.0]], labels=[[1, 1], [0, 0]]), InputError, "obeys its own"),
        (Param(structure="diag", labels=[[1, 1], [0, 1]]), InputError, "entry that is held"),
        (Param(prior=InverseWishart(3.0, [[1.0]])), InputError, "Normal prior"),
    ],
)
def test_wrong_values(value, error, words):
    """Each refusal is a named error whose sentence says argument, expected, received, to do."""
    with pytest.raises(error, match=words) as caught:
        matrix(value)
    assert "expected" in str(caught.value)
    assert "received" in str(caught.value)


def test_swapped_axes():
    """A transposed matrix is told apart from any other wrong shape."""
    with pytest.raises(InputError, match="give the transpose"):
        matrix(torch.ones(3, 2), 2, 3)


def test_a_vector_for_a_column():
    """Nothing is reshaped by guessing."""
    with pytest.raises(InputError, match="one more axis, of size 1, at the end"):
        matrix(torch.ones(2), 2, 1)


def test_declarations_refuse_nonsense():
    """Structures have names; declarations nest in one way."""
    with pytest.raises(InputError, match='one of "full"'):
        Param(structure="diagonal")
    with pytest.raises(InputTypeError, match="Nest the other way round"):
        Param(Fixed([1.0]))
    with pytest.raises(InputError, match="square matrix"):
        matrix(Param(structure="diag"), 2, 3)


def test_priors():
    """Log densities agree with torch.distributions, each learned number counted once."""
    tied = matrix(Param([[0.5, 0.5], [0.2, 0.1]], labels=[[1, 1], [0, 0]], prior=Normal(0.1, 2.0)))
    normal = torch.distributions.Normal(0.1, 2.0)
    want = normal.log_prob(torch.tensor([0.5, 0.2, 0.1], dtype=F64)).sum()
    assert torch.allclose(tied.log_prior(), want.to(F64))
    value, scale, df, n = spd(2), spd(2, seed=3), 5.0, 2
    slot = covariance(Param(value, prior=InverseWishart(df, scale)))
    inverse = torch.linalg.inv(value)
    want = -0.5 * (df + n + 1) * torch.logdet(value) - 0.5 * torch.trace(scale @ inverse)
    assert torch.allclose(slot.log_prior(), want)
    assert matrix(torch.eye(2)).log_prior() == 0


def test_declaration_builds_the_slot_again():
    """A slot's own declaration makes a slot with the same pattern, value and prior."""
    for slot, make in (
        (matrix(Param([[0.9, 0.3], [-0.3, 0.9]], labels=[[1, 2], [-2, 1]])), matrix),
        (matrix(Varying(torch.ones(3, 2, 2))), matrix),
        (covariance(Param(spd(2))), covariance),
        (covariance(Param(structure="scalar")), covariance),
    ):
        twin = make(slot.declaration())
        assert torch.equal(twin.pattern.labels, slot.pattern.labels)
        assert twin.is_set == slot.is_set
        assert twin.varies == slot.varies
        if slot.is_set:
            assert torch.allclose(twin.value(), slot.value(), atol=1e-14)
