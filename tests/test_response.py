"""The response: what is counted as success, out of how many, and what is refused."""

import numpy as np
import pandas as pd
import pytest

from bayesmlm.design import build_design
from bayesmlm.errors import BayesmlmError, DataError
from bayesmlm.spec import Spec


def response(formula, data, family="bernoulli", **extras):
    return build_design(Spec(formula, family), data, **extras)


@pytest.mark.parametrize(
    ("values", "y", "event", "levels"),
    [
        ([0, 1, 1, 0], [0, 1, 1, 0], "", ()),
        ([0.0, 1.0, 1.0, 0.0], [0, 1, 1, 0], "", ()),
        ([False, True, True, False], [0, 1, 1, 0], "True", ("False", "True")),
        (["no", "yes", "yes", "no"], [0, 1, 1, 0], "yes", ("no", "yes")),
        (["b", "a", "a", "b"], [1, 0, 0, 1], "b", ("a", "b")),
        (pd.Categorical(["b", "a", "a", "b"], ["b", "a"]), [0, 1, 1, 0], "a", ("b", "a")),
        (pd.Categorical(["b", "a", "a", "b"], ["c", "a", "b"]), [1, 0, 0, 1], "b", ("a", "b")),
    ],
)
def test_two_values_of_any_kind(values, y, event, levels):
    """The second level is the event, as in R; unused levels do not count."""
    design = response("y ~ x", pd.DataFrame({"y": values, "x": [1.0, 2.0, 4.0, 3.0]}))
    assert design.response.y.tolist() == y
    assert design.response.trials.tolist() == [1, 1, 1, 1]
    assert design.response.event == event
    assert design.response.levels == levels
    assert design.response.is_binary
    if event:
        assert f'The response counts y = "{event}".' in design.notes


@pytest.mark.parametrize("formula", ["cbind(s, f) ~ x", "cbind(s, n - s) ~ x", "s / n ~ x", "s/n ~ x"])
@pytest.mark.parametrize("family", ["bernoulli", "binomial"])
def test_counts_of_successes(formula, family):
    data = {"s": [1, 0, 3], "f": [2, 4, 0], "n": [3, 4, 3], "x": [1.0, 2.0, 4.0]}
    design = response(formula, data, family)
    assert design.response.y.tolist() == [1, 0, 3]
    assert design.response.trials.tolist() == [3, 4, 3]
    assert not design.response.is_binary
    assert str(design.family) == "binomial (logit)"


def test_proportions_with_their_trials_as_weights():
    data = {"p": [1 / 3, 0.0, 1.0], "n": [3, 4, 3], "x": [1.0, 2.0, 4.0]}
    design = response("p ~ x", data, "binomial", weights="n")
    assert design.response.y.tolist() == [1, 0, 3]
    assert design.response.trials.tolist() == [3, 4, 3]
    assert design.weights.tolist() == [1, 1, 1]


@pytest.mark.parametrize("formula", ["score > 0 ~ x", "I(score > 0) ~ x", "t == 'a' ~ x"])
def test_a_condition_as_response(formula):
    data = {"score": [-1.0, 2.0, 0.0], "t": ["b", "a", "c"], "x": [1.0, 2.0, 4.0]}
    assert response(formula, data).response.y.tolist() == [0, 1, 0]


def test_counts():
    design = response("k ~ x", {"k": [0, 3, 17], "x": [1.0, 2.0, 4.0]}, "poisson")
    assert design.response.y.tolist() == [0, 3, 17]
    assert str(design.family) == "poisson (log)"


@pytest.mark.parametrize(
    ("formula", "column", "family", "message"),
    [
        (
            "y ~ x",
            [0, 1, 2, 1],
            "bernoulli",
            'the response "y" is not binary: it holds "0.*", "1.*", "2.*"; use 0 and 1',
        ),
        ("y ~ x", [-1, 1, 1, -1], "bernoulli", 'not binary: it holds "-1.*", "1.*"'),
        ("y ~ x", [0.5, 1, 0, 1], "bernoulli", 'not binary: it holds "0.0", "0.5", "1.0"'),
        ("y ~ x", [0.5, 1, 0, 1], "binomial", "not binary.*cbind"),
        ("y ~ x", ["a", "b", "c", "a"], "bernoulli", r'not binary: it holds 3 values \("a", "b", "c"\)'),
        ("y ~ x", ["a", "b", "c", "d"], "bernoulli", "it holds 4 values"),
        ("cbind(y, 1 - y) ~ x", [0, 1, 2, 1], "binomial", "in row 2"),
        ("cbind(y, 2 - y) ~ x", [0, -1, 2, 1], "binomial", "successes that are negative in row 1"),
        ("y / 2 ~ x", [0, 1, 2, 3], "binomial", "more than the trials in row 3"),
        ("cbind(y, 3 - y) ~ x", [0, 1, 1.5, 1], "binomial", "successes that are not whole in row 2"),
        ("cbind(y, x) ~ x", ["a", "b", "a", "b"], "binomial", 'the successes "y" holds "a", "b", not numbers'),
        ("cbind(x, y) ~ x", ["a", "b", "a", "b"], "binomial", 'the failures "y" holds "a", "b", not numbers'),
        ("y ~ x", [0, 1, -1, 2], "poisson", r"should be counts 0, 1, 2, .* it holds .*-1"),
        ("y ~ x", [0, 1, 1.5, 2], "poisson", "should be counts"),
        ("y ~ x", ["a", "b", "a", "b"], "poisson", "should be counts"),
        ("log(y) ~ x", ["a", "b", "a", "b"], "bernoulli", "log"),
        ("y > 3 ~ x", ["a", "b", "a", "b"], "bernoulli", "y > 3"),
        ("1 ~ x", [0, 1, 1, 0], "bernoulli", "response"),
        ('"y" ~ x', [0, 1, 1, 0], "bernoulli", "response"),
        ("y, x ~ x", [0, 1, 1, 0], "bernoulli", "response"),
    ],
)
def test_what_the_family_cannot_use_is_named(formula, column, family, message):
    with pytest.raises(BayesmlmError, match=message):
        response(formula, pd.DataFrame({"y": column, "x": [1.0, 2.0, 4.0, 3.0]}), family)


def test_rows_are_counted_in_the_users_data():
    """An incomplete row before it does not move the row that is named."""
    data = pd.DataFrame({"s": [1, 1, 5, 1], "n": [3, 3, 3, 3], "x": [1.0, np.nan, 4.0, 3.0]})
    with pytest.raises(DataError, match="more than the trials in row 2"):
        response("s / n ~ x", data, "binomial")


@pytest.mark.parametrize(
    ("formula", "weights"), [("s / n ~ x", None), ("cbind(s, n - s) ~ x", None), ("p ~ x", "n"), ("p ~ x", "m")]
)
def test_trials_and_successes_are_whole(formula, weights):
    """0.37 of 4 trials, or 2.5 trials, is no binomial count; the row is named."""
    data = {"s": [1, 0, 1], "n": [2, 2.5, 4], "p": [0.5, 0.37, 0.5], "m": [2, 4, 4], "x": [1.0, 2.0, 4.0]}
    with pytest.raises(DataError, match=r"whole.*row 1"):
        response(formula, data, "binomial", weights=weights)
