"""The whitelist of expressions: what is read, what it gives, what is refused."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayesmlm.errors import BayesmlmError, FormulaError
from bayesmlm.expressions import FUNCTIONS, canonical, check_expression, columns_of, evaluate
from tests.conftest import refusal

X, K = np.array([1.0, 2.0, 4.0]), np.array([3, 1, 2])
TEXT = np.array(["0", "1", "3+"], dtype=object)


@pytest.fixture
def columns():
    return {"x": X.copy(), "k": K.copy(), "t": TEXT.copy()}


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("I(age**2)", "I(age^2)"),
        ("I(age^2)", "I(age^2)"),
        ("poly( age,2 )", "poly(age, 2)"),
        ("bs(x,df=4)", "bs(x, df=4)"),
        ("I(f=='a')", 'I(f == "a")'),
        ("log( x+1 )", "log(x + 1)"),
    ],
)
def test_canonical_spelling(text, written):
    assert canonical(text) == written
    assert canonical(written) == written


def test_columns_in_order_without_functions():
    assert columns_of("log(size - 1) / age + size") == ("size", "age")
    assert columns_of("3") == ()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x + k", X + K),
        ("x - k", X - K),
        ("x * k", X * K),
        ("x / k", X / K),
        ("x ^ 2", X**2),
        ("x ** 2", X**2),
        ("k % 2", K % 2),
        ("-x", -X),
        ("+x", X),
        ("I(x)", X),
        ("I(log(x) ^ 2)", np.log(X) ** 2),
        ("x == 2", X == 2),
        ("x != 2", X != 2),
        ("x < 2", X < 2),
        ("x >= 2", X >= 2),
        ("1 < x < 4", (X > 1) & (X < 4)),
        ("t == '1'", TEXT == "1"),
        ("t in ['0', '3+']", np.array([True, False, True])),
        ("t not in ('0', '3+')", np.array([False, True, False])),
        ("x > 1 and k < 2", np.array([False, True, False])),
        ("(x > 1) & (k < 2)", np.array([False, True, False])),
        ("x > 2 or k == 3", np.array([True, False, True])),
        ("(x > 2) | (k == 3)", np.array([True, False, True])),
        ("not x > 1", np.array([True, False, False])),
        ("~(x > 1)", np.array([True, False, False])),
        *[(f"{name}(x)", function(X)) for name, function in FUNCTIONS.items()],
    ],
)
def test_values(text, value, columns):
    np.testing.assert_array_equal(np.asarray(evaluate(text, columns), dtype=value.dtype), value)


def test_columns_are_never_written_to(columns):
    """A second argument of a function must not become the place its result goes."""
    before = {name: values.copy() for name, values in columns.items()}
    refusal(evaluate, "log(k, x)", columns)
    for name, values in columns.items():
        np.testing.assert_array_equal(values, before[name])


@pytest.mark.parametrize(
    "text", ["log(x, k)", "log(x, 2)", "log(x, base=2)", "log()", "I()", "I(x, k)", "log(**x)", "log(*x)"]
)
def test_a_function_takes_one_argument(text, columns):
    with pytest.raises(FormulaError, match=r"log|I"):
        evaluate(text, columns)


@pytest.mark.parametrize("text", ["t > 1", "x + 'a'", "-t", "log(t)", "x & k", "x in 3"])
def test_values_that_do_not_go_together_are_named(text, columns):
    with pytest.raises(BayesmlmError, match=re.escape(text)):
        evaluate(text, columns)


@pytest.mark.parametrize("text", ["", "  ", "x +", "(x", "x)", '"', "x y", "*x", "x\x00", "x = 3", "1is 2"])
def test_what_is_no_expression_is_refused(text):
    with pytest.raises(FormulaError, match="cannot read the expression"):
        check_expression(text)


@pytest.mark.parametrize(
    "text",
    [
        "x[0]",
        "x.sum",
        "lambda: 1",
        "[a for a in x]",
        'f"{x}"',
        "x if k else t",
        "(x := 3)",
        "{1: 2}",
        "x // 2",
        "x @ k",
    ],
)
def test_what_is_not_on_the_list_is_refused(text):
    with pytest.raises(FormulaError, match="not arithmetic, a comparison or a known function"):
        check_expression(text)


@pytest.mark.parametrize("text", ["open('f')", "__import__('os')", "x.sum()", "np.log(x)", "log(x)(x)", "Log(x)"])
def test_what_cannot_be_called_is_named(text):
    with pytest.raises(FormulaError, match="cannot be called"):
        check_expression(text)


def test_an_unknown_column_comes_with_a_suggestion():
    with pytest.raises(FormulaError, match=r'reads a column "aeg" that is not there; did you mean "age"\?'):
        evaluate("aeg + 1", {"age": X, "urban": K})


@pytest.mark.parametrize("text", ["scale(x)", "poly(x, 2)", "factor(x)", "bs(x, df=4)"])
def test_transforms_with_a_state_are_refused_here(text, columns):
    with pytest.raises(FormulaError, match="only value-by-value functions"):
        evaluate(text, columns)


NUMBERS = st.recursive(
    st.sampled_from(["x", "k", "2", "3.5", "0.25"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        inner.map(lambda t: f"abs({t})"),
        inner.map(lambda t: f"-({t})"),
    ),
    max_leaves=8,
)


@given(NUMBERS)
def test_arithmetic_is_numpys(text):
    columns = {"x": X, "k": K}
    expected = eval(text, {"__builtins__": {}, "abs": np.abs}, columns)
    np.testing.assert_array_equal(evaluate(text, columns), expected)
    np.testing.assert_array_equal(evaluate(canonical(text), columns), expected)


@given(st.one_of(st.text(max_size=30), st.text("xk01 +-*/^()<>=!&|~,.'\"[]%\\", max_size=30)))
def test_random_text_is_read_or_refused(text):
    assert refusal(columns_of, text) != ""
    assert refusal(canonical, text) == refusal(columns_of, text)
