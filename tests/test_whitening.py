"""Whitened coordinates are the same posterior in other words: Jacobian, gradient, and what they are for."""

import numpy as np
import pytest

from bayesmlm.bayes import native
from bayesmlm.bayes.at_mode import flat_start, informed, whiten
from bayesmlm.bayes.coordinates import largest_term
from bayesmlm.bayes.kernel import build_kernel
from bayesmlm.bayes.whitening import unwhitened
from bayesmlm.model import Model
from bayesmlm.start import find_start

CASES = {
    "no groups": ("y ~ x + f", {}),
    "one intercept": ("y ~ x + f + (1 | g)", {}),
    "slope": ("y ~ x + (x | g)", {}),
    "three columns": ("count ~ x + (x + z | h)", {"family": "poisson"}),
    "crossed": ("y ~ x + (1 | g) + (1 | h)", {}),
    "crossed slopes": ("y ~ x + (x | h) + (z || g)", {"link": "probit"}),
    "nested": ("y ~ x + (1 | g/f)", {"link": "cloglog"}),
    "gaussian": ("z ~ x + (x | g)", {"family": "gaussian", "weights": "w"}),
    "gaussian crossed": ("z ~ x + (1 | g) + (1 | h)", {"family": "gaussian"}),
}


def whitened(case, data, centered=None, flat=False):
    """Kernel, map, and the log-density with its gradient in whitened coordinates."""
    formula, given = CASES[case]
    design = Model(formula, data, **given).design
    kernel = build_kernel(design)
    start = flat_start(kernel) if flat else find_start(design)[0]
    if design.groups:
        each = list(informed(kernel, start)) if centered is None else [centered] * len(design.groups)
        each[largest_term(kernel.coordinates)] = True
        kernel = build_kernel(design, tuple(each))
    white = whiten(kernel, start, centered)
    words = native.pack(kernel, white)

    def density(w):
        gradient = np.empty(len(w))
        return native.whitened_density(w, gradient, words.view(np.float64), words), gradient

    return kernel, white, density


@pytest.mark.parametrize("centered", [None, True, False], ids=["as the data speak", "centred", "standardised"])
@pytest.mark.parametrize("case", CASES)
def test_the_density_is_the_kernels_and_the_jacobian(case, centered, toy):
    kernel, white, density = whitened(case, toy, centered)
    for seed in (1, 2):
        w = np.random.default_rng(seed).normal(size=(1, 1, kernel.size))
        x, jacobian = unwhitened(w, white)
        assert density(w[0, 0])[0] == pytest.approx(kernel(x[0, 0])[0] + jacobian[0, 0], rel=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_the_jacobian_is_the_determinant(case, toy):
    """By central differences; between two points, the constant of the linear part being left out of it."""
    kernel, white, _ = whitened(case, toy)
    rng, values = np.random.default_rng(3), []
    for _ in range(2):
        w, h = 0.7 * rng.normal(size=kernel.size), 1e-5
        moved = w + h * np.concatenate([np.eye(kernel.size), -np.eye(kernel.size)])
        x, _ = unwhitened(moved[None], white)
        J = (x[0, : kernel.size] - x[0, kernel.size :]) / (2 * h)
        values.append(np.linalg.slogdet(J)[1] - unwhitened(w[None, None], white)[1][0, 0])
    assert values[0] == pytest.approx(values[1], abs=1e-6)


@pytest.mark.parametrize("centered", [None, True, False], ids=["as the data speak", "centred", "standardised"])
@pytest.mark.parametrize("case", CASES)
def test_the_gradient_is_that_of_the_density(case, centered, toy):
    """Fourth-order differences with h = 1e-3, as of the kernel itself."""
    kernel, _, density = whitened(case, toy, centered)
    w = 0.7 * np.random.default_rng(4).normal(size=kernel.size)
    exact = density(w)[1]
    for j in range(kernel.size):
        e = np.zeros(kernel.size)
        e[j] = 1e-3
        f = [density(w + k * e)[0] for k in (-2, -1, 1, 2)]
        numeric = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / 12e-3
        assert exact[j] == pytest.approx(numeric, rel=1e-6, abs=1e-6)


def test_effects_of_a_gaussian_model_are_whitened_exactly(toy):
    """Given everything else they are normal, and the map knows their law: independent standard normals remain."""
    kernel, white, density = whitened("gaussian", toy)
    rng, m = np.random.default_rng(5), len(white.outer)
    for _ in range(3):
        w = rng.normal(size=kernel.size)
        at_zero = np.concatenate([w[:m], np.zeros(kernel.size - m)])
        assert density(w)[0] - density(at_zero)[0] == pytest.approx(-0.5 * np.sum(w[m:] ** 2), abs=1e-8)


@pytest.mark.parametrize("case", ["one intercept", "slope", "crossed", "gaussian"])
def test_the_curvature_at_the_mode_is_nearly_the_identity(case, toy):
    """Laplace's approximation made it; what is left is the difference of Laplace's and the joint curvature."""
    kernel, _, density = whitened(case, toy)
    h, size = 1e-4, kernel.size
    H = np.array([(density(h * e)[1] - density(-h * e)[1]) / (2 * h) for e in np.eye(size)])
    values = np.linalg.eigvalsh(-0.5 * (H + H.T))
    assert (values > 0.2).all()
    assert np.median(values) == pytest.approx(1.0, abs=0.15)
    assert values.max() < 4.0


def test_without_a_mode_the_scales_serve(toy):
    kernel, _, density = whitened("crossed", toy, flat=True)
    value, gradient = density(np.zeros(kernel.size))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_many_effects_of_a_second_term_are_whitened_one_by_one(toy, monkeypatch):
    monkeypatch.setattr("bayesmlm.bayes.at_mode._DENSE", 3)
    kernel, white, density = whitened("crossed", toy)
    assert white.others_root.shape[1] == 0
    assert (white.others_scale > 0).all()
    w = np.random.default_rng(6).normal(size=kernel.size)
    x, jacobian = unwhitened(w[None, None], white)
    assert density(w)[0] == pytest.approx(kernel(x[0, 0])[0] + jacobian[0, 0], rel=1e-12)


def test_rows_that_repeat_are_one_row(contraception):
    design = Model("use ~ urban + (1 | district)", contraception).design
    kernel = build_kernel(design)
    assert len(kernel.arguments[1]) == len(contraception.groupby(["district", "urban"], observed=True))
    assert kernel.arguments[2].sum() == len(contraception)


def test_informative_groups_are_centred(toy):
    """Four rows a group say little, four hundred much."""
    rng = np.random.default_rng(7)
    said = []
    for size in (4, 400):
        g = np.repeat(np.arange(40), size)
        y = (rng.random(len(g)) < 1 / (1 + np.exp(-0.5 * rng.normal(size=40)[g]))).astype(int)
        design = Model("y ~ 1 + (1 | g)", {"y": y, "g": g}).design
        said += informed(build_kernel(design), find_start(design)[0])
    assert said == [False, True]


def test_the_public_interface_of_the_sampler_serves_where_the_private_one_fails(toy, monkeypatch):
    model, given = Model("y ~ x + (1 | g)", toy), {"draws": 30, "tune": 60, "chains": 2, "seed": 8}
    fast = model.sample(**given)

    def gone(*_):
        raise AttributeError("nutpie has changed inside")

    monkeypatch.setattr(native, "_by_address", gone)
    slow = model.sample(**given)
    np.testing.assert_array_equal(fast.tree["posterior"]["beta"], slow.tree["posterior"]["beta"])
