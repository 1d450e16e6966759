"""Formula text -> fixed part, offsets and random-effect bars."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayesmlm.bars import Bar, parse_formula
from bayesmlm.errors import FormulaError
from tests.conftest import refusal


def bars(formula):
    return [(bar.columns, bar.name) for bar in parse_formula(formula).bars]


# the fixed part -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "fixed"),
    [
        ("y ~ x", "x"),
        ("y~x", "x"),
        ("  y  ~  x  ", "x"),
        ("y ~ x\n  + z", "x + z"),
        ("y ~ 1", "1"),
        ("y ~ 0 + x", "0 + x"),
        ("y ~ x - 1", "x - 1"),
        ("y ~ -1 + x", "- 1 + x"),
        ("y ~ x*z", "x * z"),
        ("y ~ x:z", "x:z"),
        ("y ~ x/z", "x / z"),
        ("y ~ x %in% z", "x %in% z"),
        ("y ~ (x + z)^2", "(x + z)**2"),
        ("y ~ (x + z)**2", "(x + z)**2"),
        ("y ~ I(x^2)", "I(x**2)"),
        ("y ~ poly( x,2 )", "poly(x, 2)"),
        ("y ~ log(x + 1)", "log(x + 1)"),
        ("y ~ `body mass`", "`body mass`"),
        ("y ~ body.mass", "`body.mass`"),
        ("y ~ größe", "größe"),
        ("y ~ (1 | g)", "1"),
        ("y ~ x + (1 | g) + z", "x + z"),
        ("y ~ (1 | g) + x", "x"),
        ("y ~ x + (1 | g) - 1", "x - 1"),
        ("y ~ x + offset(log(n)) + z", "x + z"),
        ("y ~ ((x))", "((x))"),
    ],
)
def test_fixed_part(formula, fixed):
    assert parse_formula(formula).fixed == fixed


def test_columns_in_order_of_appearance():
    f = parse_formula("cbind(s, n - s) ~ age*ch + I(age^2) + offset(log(size)) + (1 + income | region:year)")
    assert f.columns == ("s", "n", "age", "ch", "size", "income", "region", "year")
    assert f.response_columns == ("s", "n")
    assert f.fixed_columns == ("age", "ch")
    assert f.offsets == ("log(size)",)


def test_function_names_are_not_columns():
    assert parse_formula("y ~ log(x) + scale(z)").fixed_columns == ("x", "z")


@pytest.mark.parametrize(
    ("formula", "response"),
    [
        ("use ~ age", "use"),
        ("cbind(s, f) ~ age", "cbind(s, f)"),
        ("cbind(s, n - s) ~ age", "cbind(s, n - s)"),
        ("s / n ~ age", "s / n"),
        ("I(score > 0) ~ age", "I(score > 0)"),
        ("`used it` ~ age", "used it"),
    ],
)
def test_response(formula, response):
    assert parse_formula(formula).response == response


def test_text_keeps_what_was_written_with_regular_space():
    assert parse_formula(" y ~  I(x^2)\n + (1|g) ").text == "y ~ I(x^2) + (1|g)"


# the bars -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("y ~ (1 | g)", [("1", "g")]),
        ("y ~ (1|g)", [("1", "g")]),
        ("y ~ x + (1 + x | g)", [("1 + x", "g")]),
        ("y ~ x + (x | g)", [("x", "g")]),
        ("y ~ x + (0 + x | g)", [("0 + x", "g")]),
        ("y ~ (1 | a) + (1 | b)", [("1", "a"), ("1", "b")]),
        ("y ~ (1 | a:b)", [("1", "a:b")]),
        ("y ~ (1 | a/b)", [("1", "a"), ("1", "b:a")]),
        ("y ~ (1 | a/b/c)", [("1", "a"), ("1", "b:a"), ("1", "c:b:a")]),
        ("y ~ (x | a/b)", [("x", "a"), ("x", "b:a")]),
        ("y ~ (I(x^2) | g)", [("I(x**2)", "g")]),
        ("y ~ (1 | `my group`)", [("1", "my group")]),
    ],
)
def test_bars(formula, expected):
    assert bars(formula) == expected


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("y ~ (x || g)", ["1", "0 + x"]),
        ("y ~ (1 + x || g)", ["1", "0 + x"]),
        ("y ~ (x + z || g)", ["1", "0 + x", "0 + z"]),
        ("y ~ (0 + x || g)", ["0 + x"]),
        ("y ~ (x - 1 || g)", ["0 + x"]),
        ("y ~ (-1 + x || g)", ["0 + x"]),
        ("y ~ (1 || g)", ["1"]),
        ("y ~ (I(x + 1) + z || g)", ["1", "0 + I(x + 1)", "0 + z"]),
        ("y ~ (x + log(z + 1) || g)", ["1", "0 + x", "0 + log(z + 1)"]),
        ("y ~ (`mid-term` + `a + b` || g)", ["1", "0 + `mid-term`", "0 + `a + b`"]),
        ("y ~ (x:z || g)", ["1", "0 + x:z"]),
    ],
)
def test_double_bars_are_several_uncorrelated_terms(formula, expected):
    """As lme4's expandDoubleVerts."""
    assert [bar.columns for bar in parse_formula(formula).bars] == expected


def test_double_bar_of_an_interaction_is_one_term_per_product():
    """lme4 expands ``x * z`` first: four uncorrelated terms."""
    pieces = [bar.columns.replace(" ", "") for bar in parse_formula("y ~ (x * z || g)").bars]
    assert pieces == ["1", "0+x", "0+z", "0+x:z"]


def test_a_bar_knows_its_name():
    assert Bar("1", ("urban", "district")).name == "urban:district"


@pytest.mark.parametrize("formula", ["y ~ x + (0 | g)", "y ~ x + (0 || g)"])
def test_a_bar_without_columns_is_refused(formula):
    with pytest.raises(FormulaError, match="0"):
        parse_formula(formula)


# what cannot be read ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("", "the formula is empty"),
        ("   ", "the formula is empty"),
        ("y", 'exactly one "~"'),
        ("y ~ x ~ z", 'exactly one "~"'),
        ("~ x", "the response is missing"),
        ("y ~", 'nothing stands after "~"'),
        ("y ~ x +", 'it ends after "+"'),
        ("y ~ x + + z", 'a term should stand where "+" is at character 9'),
        ("y ~ x z", '"z" cannot stand there at character 7'),
        ("y ~ x) + z", 'a ")" without its "(" at character 6'),
        ("y ~ (x + z", 'the "(" is never closed at character 5'),
        ("y ~ ()", 'a term is missing before ")" at character 6'),
        ("y ~ x + (1 | g", 'the "(" is never closed at character 9'),
        ("y ~ x + 1 | g)", '"|" cannot stand there'),
        ("y ~ x | g", '"|" cannot stand there'),
        ("y ~ | g", "a random-effect term is written in parentheses, as in (1 | group)"),
        ("y ~ x + (| g)", 'nothing stands before "|"'),
        ("y ~ x + (1 |)", "a group is the name of a column"),
        ("y ~ x + (1 | 2)", '"2" is none of these'),
        ("y ~ x + (1 | a + b)", '"+" cannot stand there'),
        ("y ~ x + (1 | a | b)", '"|" cannot stand there'),
        ("y ~ x + (1 | factor(a))", '"(" cannot stand there'),
        ("y ~ x - (1 | g)", "cannot be subtracted"),
        ("y ~ x * (1 | g)", "stands alone, joined by + only"),
        ("y ~ (1 | g) : x", "stands alone, joined by + only"),
        ("y ~ ((1 | g))", "stands alone, joined by + only"),
        ("y ~ x - offset(z)", "cannot be subtracted"),
        ("y ~ x : offset(z)", "an offset stands alone"),
        ("y ~ x + foo(z)", '"foo" cannot be called'),
        ("y ~ I(x^", 'the "(" is never closed'),
        ("y ~ I(x +)", 'cannot read the expression "I(x +)"'),
        ("y ~ x; z", '";" cannot stand there'),
        ("y ~ 'x'", 'a term should stand where "\'" is'),
        ("y ~ .", 'a term should stand where "." is'),
        ("cbind(a) ~ x", "cbind() takes two columns"),
        ("cbind(a, b, c) ~ x", "cbind() takes two columns"),
        ("cbind(a, b ~ x", 'the response "cbind(a, b" is not a column'),
        ("y ~ __import__('os')", "cannot be called"),
    ],
)
def test_refused_with_the_place(formula, message):
    with pytest.raises(FormulaError, match=re.escape(message)):
        parse_formula(formula)


@pytest.mark.parametrize("formula", [None, 3, ["y ~ x"]])
def test_a_formula_is_text(formula):
    with pytest.raises(FormulaError):
        parse_formula(formula)


def test_the_message_of_an_error_quotes_the_formula_once():
    with pytest.raises(FormulaError) as caught:
        parse_formula("cbind(a) ~ x")
    assert str(caught.value).count("cannot read the formula") == 1


def test_deep_nesting_is_read_or_refused():
    """How deep the interpreter goes is its own affair; beyond, the formula is refused, not crashed on."""
    assert refusal(parse_formula, "y ~ " + "(" * 1500 + "x" + ")" * 1500) != ""


# properties -------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["x", "z", "age", "body_mass", "x1", "livch", "T"])
GROUPS = st.sampled_from(["g", "h", "district", "urban"])
SPACE = st.sampled_from(["", " ", "  "])


@st.composite
def terms(draw, depth=2):
    kind = draw(st.sampled_from(["name", "name", "power", "call", "product", "parentheses"]))
    if kind == "name" or depth == 0:
        return draw(NAMES)
    if kind == "power":
        return f"I({draw(NAMES)}^{draw(st.integers(2, 4))})"
    if kind == "call":
        return f"{draw(st.sampled_from(['log', 'scale', 'exp', 'factor']))}({draw(NAMES)})"
    left, right = draw(terms(depth=depth - 1)), draw(terms(depth=depth - 1))
    operator = draw(st.sampled_from(["+", "*", ":", "/"])) if kind == "parentheses" else draw(st.sampled_from("*:"))
    inside = f"{left}{draw(SPACE)}{operator}{draw(SPACE)}{right}"
    return f"({inside})" if kind == "parentheses" else inside


@st.composite
def bar_terms(draw):
    columns = draw(st.sampled_from(["1", "0 + ", "1 + ", ""]))
    columns = columns if columns == "1" else columns + draw(NAMES)
    first, second = draw(st.permutations(["g", "h", "district", "urban"]))[:2]
    group, count = draw(st.sampled_from([(first, 1), (f"{first}:{second}", 1), (f"{first}/{second}", 2)]))
    return f"({columns}{draw(SPACE)}|{draw(SPACE)}{group})", count


@st.composite
def formulas(draw):
    fixed = draw(st.lists(terms(), min_size=1, max_size=4))
    random = draw(st.lists(bar_terms(), max_size=3))
    pieces = draw(st.permutations([*fixed, *(text for text, _ in random)]))
    joined = f"{draw(SPACE)}+{draw(SPACE)}".join(pieces)
    return f"y{draw(SPACE)}~{draw(SPACE)}{joined}", sum(count for _, count in random)


@given(formulas())
def test_well_formed_formulas_are_read(made):
    text, n_bars = made
    f = parse_formula(text)
    assert len(f.bars) == n_bars
    assert "|" not in f.fixed
    assert f.response == "y"
    written = set(re.findall(r"[A-Za-z_]\w*(?!\w*\()", text)) - {"log", "scale", "exp", "factor", "I"}
    assert set(f.columns) == written
    assert parse_formula(f.text) == f


@given(formulas(), st.data())
def test_a_formula_cut_short_is_read_or_refused(made, data):
    text, _ = made
    cut = data.draw(st.integers(0, len(text)))
    assert refusal(parse_formula, text[:cut]) != ""


@given(st.one_of(st.text(max_size=40), st.text("yxz01 ~+-*/:^()|,.%`'\"\\[]{}=<>!&\n", max_size=40)))
def test_random_text_is_read_or_refused(text):
    assert refusal(parse_formula, text) != ""


@given(st.text("yxg01 +-*:^()|,`", max_size=30))
def test_random_right_hand_sides_are_read_or_refused(text):
    try:
        f = parse_formula(f"y ~ {text}")
    except FormulaError:
        return
    assert all(bar.factors for bar in f.bars)
