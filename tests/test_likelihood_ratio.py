"""Which model is a special case of which, and what a likelihood ratio is compared with."""

import numpy as np
import pytest

import bayesmlm as bm
from bayesmlm.likelihood_ratio import boundary_p_value, is_nested, ratio_test


@pytest.fixture(scope="module")
def data():
    return bm.load_dataset("contraception")


@pytest.mark.parametrize(
    ("chisq", "df", "variances", "expected"), [(0.0, 1, 1, 1.0), (3.0, 2, 1, None), (3.0, 2, 0, None)]
)
def test_boundary_p_value(chisq, df, variances, expected):
    from scipy.stats import chi2

    p, _ = boundary_p_value(chisq, df, variances)
    if expected is None:
        expected = 0.5 * (chi2.sf(chisq, df) + chi2.sf(chisq, df - 1)) if variances else chi2.sf(chisq, df)
    assert p == pytest.approx(expected, rel=1e-12)


def test_nesting_is_by_column_space_and_grouping(data):
    def design(formula):
        return bm.Model(formula, data).design

    base = design("use ~ ch + (1 | district)")
    assert is_nested(base, design("use ~ livch + (1 | district)"))
    assert not is_nested(design("use ~ livch + (1 | district)"), base)
    assert is_nested(base, design("use ~ ch + (1 + age | district)"))
    assert is_nested(base, design("use ~ ch + (1 | district/urban)"))
    assert not is_nested(base, design("use ~ ch + (1 | urban:district)"))
    assert is_nested(design("use ~ ch"), base)
    # The same space under other names: an offset age scale changes the columns, not their span.
    assert is_nested(design("use ~ scale(age) + (1 | district)"), design("use ~ age + ch + (1 | district)"))


@pytest.mark.parametrize(
    ("df", "variances", "distribution"),
    [
        (1, 0, "χ²(1)"),
        (1, 1, "½ χ²(0) + ½ χ²(1)"),
        (3, 1, "½ χ²(2) + ½ χ²(3)"),
        (3, 2, "χ²(3), conservative"),
        (0, 0, ""),
    ],
)
def test_distributions(df, variances, distribution):
    assert ratio_test(4.0, df, variances).distribution == distribution


def test_a_variance_with_its_correlations_is_a_mixture_of_neighbours():
    from scipy.stats import chi2

    # From (1 + a | g) to (1 + a + b | g): one variance, two correlations.
    assert ratio_test(7.0, 3, 1).p_value == pytest.approx(0.5 * (chi2.sf(7.0, 2) + chi2.sf(7.0, 3)), rel=1e-12)


def test_the_mixture_is_what_the_statistic_does():
    """Statistics of a variance that is zero: half of them are zero, and p is uniform on the other half."""
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(30), 6)
    p = []
    for _ in range(200):
        data = {"y": rng.normal(size=180), "g": g}
        fits = [bm.Model(f, data, family="gaussian").fit_ml() for f in ("y ~ 1", "y ~ 1 + (1 | g)")]
        p.append(bm.anova(*fits).p_value[1])
    p = np.array(p)
    # In small samples a little more than half lie at the boundary; binomial standard error 0.035.
    assert 0.4 < (p == 1.0).mean() < 0.65
    assert abs((p < 0.1).mean() - 0.1) < 0.065  # three standard errors


def test_a_maximum_that_was_not_reached_is_no_test():
    test = ratio_test(-0.5, 1, 0)
    assert np.isnan(test.p_value)
    assert "its maximum was not reached" in test.note
    assert ratio_test(-1e-9, 1, 0).p_value == 1.0
