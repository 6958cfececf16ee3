"""The numbers behind concepts: factorizations against scikit-learn and SciPy, Sobol indices in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
from scipy.stats import qmc
from sklearn.cluster import KMeans
from sklearn.decomposition import NMF

from convscope.units.factorization import factorized, nonnegative_coefficients, relative_error, stability
from convscope.units.sobol_indices import designs, total_indices


def ishigami(x: np.ndarray, a: float = 7, b: float = 0.1) -> np.ndarray:
    x = np.pi * (2 * x - 1)
    return np.sin(x[:, 0]) + a * np.sin(x[:, 1]) ** 2 + b * x[:, 2] ** 4 * np.sin(x[:, 0])


def test_indices_of_the_ishigami_function() -> None:
    """Its total indices in closed form, as in Saltelli et al. 2008; its third input acts with the first alone."""
    masks = designs(3, 4096, seed=0)
    assert masks.shape == (4096 * 5, 3)
    first, second, third = 1 / 2 * (1 + 0.1 * np.pi**4 / 5) ** 2, 49 / 8, 0.1**2 * np.pi**8 * (1 / 18 - 1 / 50)
    whole = first + second + third
    expected = np.array([first + third, second, third]) / whole
    np.testing.assert_allclose(expected, [0.5576, 0.4424, 0.2437], atol=1e-4)
    np.testing.assert_allclose(total_indices(ishigami(masks), 3), expected, atol=0.02)


def test_indices_of_a_sum_are_shares_of_its_variance() -> None:
    weights = np.array([3.0, 1, 0, -2])
    found = total_indices(designs(4, 1024, seed=1) @ weights, 4)
    np.testing.assert_allclose(found, weights**2 / (weights**2).sum(), atol=0.01)
    assert found[2] == 0
    assert total_indices(np.full(6 * 8, 3.3), 4).tolist() == [0, 0, 0, 0]


def test_designs_are_two_sequences_and_their_mixtures() -> None:
    for n in (32, 20):  # a power of two, and no such
        masks = designs(3, n, seed=5).reshape(5, n, 3)
        both = qmc.Sobol(6, scramble=True, seed=np.random.default_rng(5)).random_base2(5)[:n]
        np.testing.assert_array_equal(masks[0], both[:, :3])
        np.testing.assert_array_equal(masks[1], both[:, 3:])
        for i in range(3):
            others = [j for j in range(3) if j != i]
            np.testing.assert_array_equal(masks[2 + i][:, i], masks[1][:, i])
            np.testing.assert_array_equal(masks[2 + i][:, others], masks[0][:, others])


def test_the_error_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((40, 12)).astype(np.float32)
    found = factorized(x, 3, seed=7)
    assert found.kind == "nmf"
    errors = []
    for seed in range(7, 11):
        model = NMF(3, init="random", random_state=seed, max_iter=300).fit(x)
        errors.append(model.reconstruction_err_ / np.linalg.norm(x))
    assert found.error == pytest.approx(min(errors), rel=1e-4)
    assert found.error == pytest.approx(relative_error(x, found.coefficients, found.basis))
    np.testing.assert_allclose(np.linalg.norm(found.basis, axis=1), 1, rtol=1e-5)
    assert min(found.coefficients.min(), found.basis.min()) >= 0


def test_signed_activations_keep_coefficients_that_are_not_negative() -> None:
    """Groups around signed directions, as in the paper: the error lies between those of the SVD and of k-means."""
    rng = np.random.default_rng(0)
    basis = rng.normal(size=(3, 10))
    u = rng.random((60, 3)) * (rng.random((60, 3)) < 0.5)
    u[np.arange(60), rng.integers(0, 3, 60)] += 1
    x = u @ basis
    found = factorized(x, 3, seed=0)
    assert found.kind == "semi-nmf"
    assert found.coefficients.min() >= 0
    assert found.basis.min() < 0
    assert found.error < 0.05
    noisy = x + rng.normal(size=x.shape) * 0.3
    found = factorized(noisy, 3, seed=0)
    sizes = np.linalg.svd(noisy, compute_uv=False)
    least = np.sqrt((sizes[3:] ** 2).sum() / (sizes**2).sum())
    groups = KMeans(3, n_init=4, random_state=0).fit(noisy)
    most = np.sqrt(groups.inertia_) / np.linalg.norm(noisy)
    assert least <= found.error < most


@pytest.mark.parametrize("n_atoms", [3, 15])
def test_the_nearest_coefficients_are_those_of_scipy(n_atoms: int) -> None:
    """Also for more directions than channels."""
    rng = np.random.default_rng(n_atoms)
    basis, x = rng.normal(size=(n_atoms, 8)), rng.normal(size=(5, 8))
    found = nonnegative_coefficients(x, basis)
    for row, u in zip(x, found, strict=True):
        _, distance = scipy.optimize.nnls(basis.T, row)
        assert u.min() >= 0
        assert np.linalg.norm(row - u @ basis) == pytest.approx(distance, abs=1e-9)
    assert nonnegative_coefficients(x[:0], basis).shape == (0, n_atoms)


def test_stability_knows_no_order() -> None:
    basis = np.eye(4)[:3]
    np.testing.assert_allclose(stability(basis, [basis[[2, 0, 1]]]), 1)
    np.testing.assert_allclose(stability(basis, [basis, np.eye(4)[[0, 1, 3]]]), [1, 1, 0.5])
    assert np.isnan(stability(basis, [])).all()
