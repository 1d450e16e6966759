"""A spec bound to data: names of terms and levels, rows kept, columns dropped, and new data."""

import re
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest

from bayesmlm.design import build_design
from bayesmlm.errors import BayesmlmError, DataError
from bayesmlm.spec import Spec


def design_of(formula, data, family="bernoulli", link=None, priors=None, **extras):
    return build_design(Spec(formula, family, link, priors or {}), data, **extras)


def terms(formula, data):
    return list(design_of(formula, data).terms)


# names of the fixed effects -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "names"),
    [
        ("use ~ age", ["Intercept", "age"]),
        ("use ~ urban", ["Intercept", "urban[Y]"]),
        ("use ~ livch", ["Intercept", "livch[1]", "livch[2]", "livch[3+]"]),
        ("use ~ age*ch", ["Intercept", "age", "ch[Y]", "age:ch[Y]"]),
        ("use ~ I(age^2)", ["Intercept", "I(age^2)"]),
        ("use ~ I(age**2)", ["Intercept", "I(age^2)"]),
        ("use ~ poly(age, 2)", ["Intercept", "poly(age, 2)[1]", "poly(age, 2)[2]"]),
        ("use ~ poly(age,2)", ["Intercept", "poly(age, 2)[1]", "poly(age, 2)[2]"]),
        ("use ~ poly(age, 2, raw=True)", ["Intercept", "poly(age, 2, raw=True)[1]", "poly(age, 2, raw=True)[2]"]),
        ("use ~ bs(age, df=4)", ["Intercept", *[f"bs(age, df=4)[{i}]" for i in (1, 2, 3, 4)]]),
        ("use ~ scale(age)", ["Intercept", "scale(age)"]),
        ("use ~ center(age)", ["Intercept", "center(age)"]),
        ("use ~ exp(age / 10)", ["Intercept", "exp(age / 10)"]),
        ("use ~ I(livch == '0')", ["Intercept", 'I(livch == "0")']),
        ("use ~ 0 + urban", ["urban[N]", "urban[Y]"]),
        ("use ~ urban - 1", ["urban[N]", "urban[Y]"]),
        ("use ~ 0 + age", ["age"]),
        ("use ~ 1", ["Intercept"]),
        ("use ~ age:urban", ["Intercept", "age:urban[N]", "age:urban[Y]"]),
        ("use ~ urban:ch + urban + ch", ["Intercept", "urban[Y]", "ch[Y]", "urban[Y]:ch[Y]"]),
        ("use ~ (age + ch)^2", ["Intercept", "age", "ch[Y]", "age:ch[Y]"]),
        ("use ~ age + age", ["Intercept", "age"]),
        ("use ~ age*ch + I(age^2) + urban", ["Intercept", "age", "ch[Y]", "I(age^2)", "urban[Y]", "age:ch[Y]"]),
    ],
)
def test_names_of_terms(formula, names, contraception):
    assert terms(formula, contraception) == names


def test_booleans_are_factors(toy):
    assert terms("y ~ flag", toy) == ["Intercept", "flag[True]"]
    assert terms("y ~ x*flag", toy) == ["Intercept", "x", "flag[True]", "x:flag[True]"]


def test_numbers_are_numbers_and_factor_makes_them_levels(toy):
    assert terms("y ~ h", toy) == ["Intercept", "h"]
    assert terms("y ~ factor(h)", toy) == ["Intercept", *[f"factor(h)[{i}]" for i in range(1, 8)]]
    assert terms("y ~ C(h)", toy)[1] == "C(h)[1]"


def test_text_is_a_factor_in_alphabetical_order(toy):
    assert terms("y ~ f", toy) == ["Intercept", "f[b]", "f[c]"]


def test_names_with_points_and_spaces(toy):
    data = toy.rename(columns={"x": "body.mass", "z": "blood pressure", "g": "my group"})
    design = design_of("y ~ body.mass + `blood pressure` + (1 | `my group`)", data)
    assert design.terms == ("Intercept", "body.mass", "blood pressure")
    assert design.groups[0].name == "my group"


def test_values_of_the_model_matrix(contraception):
    d = contraception
    X = design_of("use ~ age*ch + I(age^2) + urban", d).X
    age, ch, urban = d.age.to_numpy(), (d.ch == "Y").to_numpy(float), (d.urban == "Y").to_numpy(float)
    np.testing.assert_array_equal(X, np.column_stack([np.ones(len(d)), age, ch, age**2, urban, age * ch]))


def test_levels_that_do_not_occur_get_no_column(contraception):
    d = contraception[contraception.livch != "2"]
    assert terms("use ~ livch", d) == ["Intercept", "livch[1]", "livch[3+]"]


# names of the groups --------------------------------------------------------------------------------------


def test_a_grouping_has_its_levels_in_the_datas_order(contraception):
    group = design_of("use ~ age + (1 | district)", contraception).groups[0]
    assert (group.name, group.terms, group.n_levels) == ("district", ("Intercept",), 60)
    assert group.levels == tuple(contraception.district.cat.categories)
    assert [group.levels[code] for code in group.codes] == contraception.district.tolist()


def test_an_interaction_groups_by_the_cells_that_occur(contraception):
    """102 of the 120 combinations are observed."""
    d = contraception
    group = design_of("use ~ age + (1 | urban:district)", d).groups[0]
    assert (group.name, group.n_levels) == ("urban:district", 102)
    assert [group.levels[c] for c in group.codes] == [f"{u}:{i}" for u, i in zip(d.urban, d.district, strict=True)]
    assert sorted(set(group.codes.tolist())) == list(range(102))


def test_nested_groups(contraception):
    groups = design_of("use ~ age + (1 | district/urban)", contraception).groups
    assert [(g.name, g.n_levels) for g in groups] == [("district", 60), ("urban:district", 102)]
    other = design_of("use ~ age + (1 | urban:district)", contraception).groups[0]
    assert set(groups[1].levels) == set(other.levels)
    assert [groups[1].levels[c] for c in groups[1].codes] == [other.levels[c] for c in other.codes]


def test_three_deep(toy):
    groups = design_of("y ~ x + (1 | g/f/flag)", toy).groups
    assert [g.name for g in groups] == ["g", "f:g", "flag:f:g"]
    assert groups[2].n_levels == toy.groupby(["g", "f", "flag"]).ngroups


@pytest.mark.parametrize(
    ("column", "levels"),
    [
        ([3, 1, 2, 3, 1, 2], ("1", "2", "3")),
        ([10, 9, 10, 9, 10, 9], ("9", "10")),
        ([1.5, 1.0, 1.5, 1.0, 1.5, 1.0], ("1", "1.5")),
        ([True, False, True, True, False, True], ("False", "True")),
        (["b", "a", "b", "a", "b", "a"], ("a", "b")),
        (pd.Categorical(["b", "a"] * 3, ["b", "a", "c"]), ("b", "a")),
        ([1000000, 2000000] * 3, ("1000000", "2000000")),
    ],
)
def test_groups_of_any_kind(column, levels):
    data = pd.DataFrame({"y": [0, 1, 1, 0, 1, 0], "g": column})
    assert design_of("y ~ 1 + (1 | g)", data).groups[0].levels == levels


def test_distinct_numbers_have_distinct_names():
    """Identifiers of more than six digits stay apart, also when a missing value made them floats."""
    data = pd.DataFrame({"y": [0, 1, 1, 0, 1], "g": [1000001.0, 1000002.0, 1000001.0, 1000002.0, np.nan]})
    assert design_of("y ~ 1 + (1 | g)", data).groups[0].levels == ("1000001", "1000002")


@pytest.mark.parametrize("complete", [True, False])
def test_cells_are_numbered_in_order_whether_or_not_all_occur(complete):
    """All combinations occurring is a case of its own in the code."""
    a, b = (values.ravel() for values in np.meshgrid([2, 1, 3], ["q", "p"], indexing="ij"))
    data = pd.DataFrame({"a": np.tile(a, 3), "b": np.tile(b, 3), "y": [0, 1, 1] * 6})
    data = data if complete else data[(data.a != 1) | (data.b != "p")]
    group = design_of("y ~ 1 + (1 | a:b)", data).groups[0]
    assert group.levels == tuple(
        name for name in ("1:p", "1:q", "2:p", "2:q", "3:p", "3:q") if complete or name != "1:p"
    )
    assert [group.levels[code] for code in group.codes] == [f"{a}:{b}" for a, b in zip(data.a, data.b, strict=True)]


def test_levels_are_minted_once(toy):
    group = design_of("y ~ 1 + (1 | g:h)", toy).groups[0]
    assert group.levels is group.levels
    assert {type(level) for level in group.levels} == {str}
    assert len(group.levels) == group.n_levels


@pytest.mark.parametrize(
    ("bar", "names"),
    [
        ("(x | g)", [("Intercept", "x")]),
        ("(1 + x | g)", [("Intercept", "x")]),
        ("(0 + x | g)", [("x",)]),
        ("(x || g)", [("Intercept",), ("x",)]),
        ("(f | g)", [("Intercept", "f[b]", "f[c]")]),
        ("(0 + f | g)", [("f[a]", "f[b]", "f[c]")]),
        ("(I(x^2) | g)", [("Intercept", "I(x^2)")]),
        ("(x*z | g)", [("Intercept", "x", "z", "x:z")]),
        ("(scale(x) | g)", [("Intercept", "scale(x)")]),
    ],
)
def test_columns_that_vary_by_group(bar, names, toy):
    assert [g.terms for g in design_of(f"y ~ x + {bar}", toy).groups] == names


def test_pairs_and_labels(toy):
    design = design_of("y ~ x + (x + z | g) + (x || h)", toy)
    assert design.groups[0].pairs == ("Intercept,x", "Intercept,z", "x,z")
    assert design.group_labels == ("g", "h", "h.1")
    coords = design.coords
    assert coords["g_pair"] == ["Intercept,x", "Intercept,z", "x,z"]
    assert (coords["h_term"], coords["h.1_term"]) == (["Intercept"], ["x"])
    assert coords["slope"] == ["x"]


# any data frame ---------------------------------------------------------------------------------------------


def test_polars_gives_the_same_design(toy):
    formula = "y ~ x*f + flag + factor(h) + (x | g) + (1 | g:h) + offset(log(n))"
    a, b = design_of(formula, toy), design_of(formula, pl.from_pandas(toy))
    assert (a.terms, a.groups[0].levels, a.groups[1].levels) == (b.terms, b.groups[0].levels, b.groups[1].levels)
    np.testing.assert_array_equal(a.X, b.X)
    np.testing.assert_array_equal(a.groups[1].codes, b.groups[1].codes)
    np.testing.assert_array_equal(a.offset, b.offset)


def test_a_design_is_a_copy():
    """What the user does to the data later does not reach the model, though columns are read where they are."""
    rng = np.random.default_rng(4)
    data = {name: rng.normal(size=40) for name in ("x", "o")}
    data |= {
        "y": rng.integers(0, 2, 40).astype(float),
        "w": rng.integers(1, 3, 40).astype(float),
        "g": np.arange(40) % 5,
    }
    for frame in (pd.DataFrame(data, copy=False), pl.DataFrame(data)):
        design = design_of("y ~ 0 + x + (0 + x | g)", frame, weights="w", freq="w", offset="o")
        group = design.groups[0]
        arrays = (design.X, design.response.y, design.weights, design.freq, design.offset, group.z, group.codes)
        assert not any(np.shares_memory(array, frame[name].to_numpy()) for array in arrays for name in data)


def test_what_is_the_same_in_every_row_takes_no_memory(toy):
    design = design_of("y ~ x + (1 | g)", toy)
    for array in (design.weights, design.freq, design.response.trials, design.groups[0].z):
        assert array.strides[0] == 0
        assert (array == 1.0).all()
        assert not array.flags.writeable


def test_models_of_one_text_learn_from_their_own_data(toy):
    """The text is parsed once for all; scale() and the levels of f belong to one model each."""
    formula = "y ~ scale(x) + f + (scale(x) | g)"
    both = [design_of(formula, data) for data in (toy, toy[toy.f != "a"].assign(x=5 * toy.x + 1))]
    assert [design.terms for design in both] == [
        ("Intercept", "scale(x)", "f[b]", "f[c]"),
        ("Intercept", "scale(x)", "f[c]"),
    ]
    for design in both:
        assert design.X[:, 1].std(ddof=1) == pytest.approx(1.0)
        assert design.groups[0].z[:, 1].mean() == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_allclose(both[0].fixed_matrix(toy), both[0].X, rtol=1e-12, atol=1e-12)


# missing and infinite values --------------------------------------------------------------------------------


def test_incomplete_rows_are_left_out_and_counted(toy):
    data = toy.copy()
    data.loc[3, "x"] = np.nan
    data.loc[5, "f"] = None
    data.loc[7, "g"] = None
    data.loc[9, "z"] = np.nan
    design = design_of("y ~ x + f + (1 | g)", data)
    assert design.nobs == 117
    assert design.n_rows == 120
    assert design.rows.tolist() == [i for i in range(120) if i not in (3, 5, 7)]
    assert "3 of 120 rows were left out because a value is missing in x, f, g." in design.notes


@pytest.mark.parametrize("name", ["weights", "freq", "offset"])
def test_a_missing_weight_is_named(name, toy):
    data = toy.assign(extra=1.0)
    data.loc[3, "extra"] = np.nan
    design = design_of("y ~ x", data, **{name: "extra"})
    assert design.nobs == 119
    assert any(re.fullmatch(rf"1 of 120 rows .* missing in .*({name}|extra).*", note) for note in design.notes)


def test_no_complete_row(toy):
    with pytest.raises(DataError, match="no row is complete: each of the 120 rows misses one of y, x"):
        design_of("y ~ x", toy.assign(x=np.nan))


@pytest.mark.parametrize(
    ("formula", "extras", "message"),
    [
        ("y ~ x", {}, 'column "x" is infinite in row 4'),
        ("y ~ z + (x | g)", {}, 'column "x" is infinite in row 4'),
        ("y ~ z + offset(x)", {}, 'column "x" is infinite in row 4'),
        ("y ~ z", {"offset": "x"}, 'column "offset" is infinite in row 4'),
        ("y ~ z", {"weights": "x"}, 'column "weights" is infinite in row 4'),
    ],
)
def test_an_infinite_value_names_column_and_row(formula, extras, message, toy):
    data = toy.copy()
    data.loc[4, "x"] = np.inf
    with pytest.raises(DataError, match=message):
        design_of(formula, data, **extras)


@pytest.mark.parametrize("formula", ["y ~ log(x)", "y ~ z + (log(x) | g)", "y ~ z + offset(log(x))", "y ~ sqrt(x)"])
@pytest.mark.parametrize("bad", [0.0, -1.0])
def test_a_function_that_gives_no_number_is_named(formula, bad, toy):
    """log(0) and the root of a negative number must not pass as a column to drop or an offset to use."""
    data = toy.assign(x=toy.x.abs() + 0.1)
    data.loc[4, "x"] = bad if "sqrt" not in formula else -1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        with pytest.raises(DataError, match=r"(log|sqrt)\(x\).*row 4"):
            design_of(formula, data)


# rank -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "dropped"),
    [
        ("y ~ x + I(2*x)", ("I(2 * x)",)),
        ("y ~ x + z + I(x + z)", ("I(x + z)",)),
        ("y ~ one + x", ("one",)),
        ("y ~ f + I(f == 'b')", ('I(f == "b")',)),
        ("y ~ 0 + f + one", ("one",)),
        ("y ~ x + zero", ("zero",)),
    ],
)
def test_determined_columns_are_left_out_and_named(formula, dropped, toy):
    design = design_of(formula, toy.assign(one=1.0, zero=0.0))
    assert design.dropped == dropped
    assert np.linalg.matrix_rank(design.X) == design.X.shape[1] == len(design.terms)
    note = next(note for note in design.notes if "rank deficient" in note)
    assert dropped[0] in note


def test_columns_on_unlike_scales_are_kept(toy):
    """A few years AD and their square differ by 1e-4 of their spread, but are two columns."""
    data = toy.assign(year=2000.0 + 0.5 * toy.x)
    assert design_of("y ~ year + I(year^2)", data).dropped == ()


def test_determined_columns_of_a_group_are_an_error(toy):
    with pytest.raises(DataError, match=r"\(x \+ I\(2 \* x\) \| g\): I\(2 \* x\) is determined by the other columns"):
        design_of("y ~ x + (x + I(2*x) | g)", toy)


# what does not fit --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("y ~ xx", 'the data have no column "xx"; did you mean "x"'),
        ("y ~ x + (1 | gg)", 'the data have no column "gg"; did you mean "g"'),
        ("yy ~ x", 'the data have no column "yy"; did you mean "y"'),
        ("y ~ x + offset(oo)", 'the data have no column "oo"; did you mean "o"'),
        ("y ~ x + (zz | g)", 'the data have no column "zz"; did you mean "z"'),
        ("y ~ log(f)", r"the formula part .*log\(f\).* cannot be evaluated on the data"),
        ("y ~ x + offset(f)", 'the offset "f" holds "a", "b", "c", not numbers|the offset "f" holds'),
        ("y ~ x + offset(log(f))", "offset|log"),
        ("y ~ 3", "cannot be evaluated"),
        ("y ~ 0", "has no fixed effects and no groups: nothing is left to estimate"),
        ("y ~ x + (1 | one)", r'the grouping "one" has one level only \("1"\)'),
        ("y ~ x + (1 | own)", 'the grouping "own" has a level of its own for each of the 120 rows'),
        ("answer ~ x + (1 | g:own)", 'the grouping "g:own" has a level of its own'),
    ],
)
def test_formulas_that_do_not_fit_the_data(formula, message, toy):
    with pytest.raises(BayesmlmError, match=message):
        design_of(formula, toy.assign(one=1, own=np.arange(120)))


def test_a_level_per_row_is_allowed_where_a_row_is_more_than_one_answer(toy):
    data = toy.assign(own=np.arange(120))
    assert design_of("cbind(s, n - s) ~ x + (1 | own)", data, "binomial").groups[0].n_levels == 120
    assert design_of("count ~ x + (1 | own)", data, "poisson").groups[0].n_levels == 120


def test_a_column_of_mixed_kinds_is_named(toy):
    with pytest.raises(DataError, match="mixed"):
        design_of("y ~ mixed", toy.assign(mixed=pd.Series([1, "a"] * 60, dtype=object)))


def test_empty_data(toy):
    with pytest.raises(DataError, match="the data have no rows"):
        design_of("y ~ x", toy.iloc[:0])


# weights, frequencies, offsets ---------------------------------------------------------------------------------


def test_extras_as_columns_or_arrays(toy):
    by_name = design_of("y ~ x", toy, weights="w", freq="reps", offset="o")
    by_array = design_of(
        "y ~ x", toy, weights=toy.w.to_numpy(), freq=toy.reps.tolist(), offset=pl.from_pandas(toy)["o"]
    )
    for name in ("weights", "freq", "offset"):
        np.testing.assert_array_equal(getattr(by_name, name), getattr(by_array, name))
    np.testing.assert_array_equal(by_name.weights, toy.w)
    assert by_name.nobs == toy.reps.sum()
    assert build_design(Spec("y ~ x", weights="w"), toy).weights.tolist() == toy.w.tolist()


def test_offsets_add_up(toy):
    design = design_of("y ~ x + offset(log(n)) + offset(z)", toy, offset="o")
    np.testing.assert_allclose(design.offset, np.log(toy.n) + toy.z + toy.o, rtol=1e-12)


@pytest.mark.parametrize(
    ("extras", "message"),
    [
        ({"weights": np.ones(3)}, "weights has 3 values for 120 rows"),
        ({"weights": "f"}, 'weights should be numbers, not "'),
        ({"weights": "ww"}, 'the data have no column "ww"; did you mean "w"'),
        ({"weights": -np.ones(120)}, "weights is negative in row 0"),
        ({"freq": 0.5 * np.ones(120)}, "freq should be whole numbers"),
        ({"freq": -np.ones(120)}, "freq is negative in row 0"),
        ({"offset": ["a"] * 120}, 'offset should be numbers, not "a"'),
    ],
)
def test_extras_that_do_not_fit(extras, message, toy):
    with pytest.raises(DataError, match=message):
        design_of("y ~ x", toy, **extras)


# scaling and priors ---------------------------------------------------------------------------------------------


def test_scaling_is_a_change_of_coordinates(toy):
    design = design_of("y ~ x*f + I(z^2)", toy)
    internal = design.scaling.apply(design.X)
    np.testing.assert_allclose(internal[:, 1:].mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(internal[:, 1:].std(axis=0), 1.0, rtol=1e-12)
    beta = np.random.default_rng(1).normal(size=len(design.terms))
    np.testing.assert_allclose(design.X @ (design.scaling.matrix @ beta), internal @ beta, rtol=1e-9, atol=1e-12)


def test_without_an_intercept_nothing_is_centred(toy):
    scaling = design_of("y ~ 0 + x + z", toy).scaling
    assert scaling.intercept == -1
    assert scaling.means.tolist() == [0.0, 0.0]
    np.testing.assert_array_equal(scaling.matrix, np.diag(1.0 / scaling.scales))


def test_scales_of_columns_far_from_zero(toy):
    """A mean a million times the spread must not spoil the spread (1e-9 of it, as the data hold)."""
    scaling = design_of("y ~ far", toy.assign(far=1e6 + toy.x)).scaling
    assert scaling.scales[1] == pytest.approx(toy.x.std(ddof=0), rel=1e-8)


def test_moments_and_rank_of_more_rows_than_a_block_holds():
    """Long columns are read in blocks of 65,536 rows."""
    rng = np.random.default_rng(8)
    n = 150_000
    data = pd.DataFrame({"x": rng.normal(3.0, 2.0, n), "z": rng.exponential(size=n), "g": np.arange(n) % 7})
    data["sum"], data["y"] = data.x + data.z, rng.integers(0, 2, n)
    design = design_of("y ~ x + z + sum + (z | g)", data)
    assert design.dropped == ("sum",)
    spread = data[["x", "z"]].std(ddof=0)
    np.testing.assert_allclose(design.scaling.scales[1:], spread, rtol=1e-12)
    np.testing.assert_allclose([prior["sd"] for prior in design.priors.fixed[1:]], 2.5 / spread, rtol=1e-12)
    np.testing.assert_allclose(design.groups[0].scales, [1.0, np.sqrt((data.z**2).mean())], rtol=1e-12)


def test_priors_are_resolved_against_the_data(toy):
    design = design_of("y ~ x + (z | g)", toy, priors={"Intercept": "normal(0, 1)"})
    assert str(design.priors.fixed[0]) == "normal(0, 1)"
    assert design.priors.fixed[1]["sd"] == pytest.approx(2.5 / toy.x.std(ddof=0))
    assert design.priors.sd[0][1]["scale"] == pytest.approx(2.5 / toy.z.std(ddof=0))


# new data -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(toy):
    return design_of("y ~ x*f + factor(h) + poly(z, 2) + flag + (scale(x) | g) + (1 | g:h) + offset(log(n))", toy)


@pytest.mark.parametrize("kind", ["pandas", "polars", "mapping"])
def test_the_datas_own_rows_come_back(trained, toy, kind):
    some = toy.iloc[10:30]
    data = {"pandas": some, "polars": pl.from_pandas(some), "mapping": {c: some[c].tolist() for c in some}}[kind]
    np.testing.assert_allclose(trained.fixed_matrix(data), trained.X[10:30], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(trained.offset_of(data), trained.offset[10:30], rtol=1e-15)
    for group in trained.groups:
        codes, z = trained.group_rows(group, data)
        np.testing.assert_array_equal(codes, group.codes[10:30])
        np.testing.assert_allclose(z, group.z[10:30], rtol=1e-12, atol=1e-12)


def test_transforms_keep_the_state_they_learnt(trained, toy):
    """One row, whose own mean and spread are nothing: scale() and poly() must use the training data's."""
    one = toy.iloc[[17]]
    np.testing.assert_allclose(trained.fixed_matrix(one)[0], trained.X[17], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(trained.group_columns(trained.groups[0], one)[0], trained.groups[0].z[17], rtol=1e-12)


def test_a_column_may_vary_by_one_group_and_be_another(toy):
    """Its levels are known though no fixed effect has them."""
    design = design_of("y ~ x + (f | g) + (1 | f)", toy)
    slopes = design.groups[0]
    np.testing.assert_array_equal(design.group_columns(slopes, toy), slopes.z)
    with pytest.raises(DataError, match='column "f" holds "z", a level the model has not seen'):
        design.group_columns(slopes, toy.assign(f="z"))


def test_new_groups_have_no_code(trained, toy):
    new = toy.iloc[:3].assign(g=["north", "nowhere", "south"], h=[toy.h[0], 0, 99])
    first, second = trained.groups
    codes, _ = trained.group_rows(first, new)
    assert [first.levels[c] if c >= 0 else None for c in codes] == ["north", None, "south"]
    codes, _ = trained.group_rows(second, new)
    assert codes[1] == codes[2] == -1


def test_group_codes_do_not_depend_on_how_numbers_are_stored(toy):
    design = design_of("y ~ x + (1 | h)", toy)
    for stored in (toy.h, toy.h.astype(float), toy.h.astype("int8"), pd.Categorical(toy.h)):
        codes, _ = design.group_rows(design.groups[0], toy.assign(h=stored))
        np.testing.assert_array_equal(codes, design.groups[0].codes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"f": "z"}, 'new data: column "f" holds "z", a level the model has not seen'),
        ({"h": 99}, "99"),
        ({"h": "3"}, "h"),
        ({"flag": "perhaps"}, 'new data: column "flag" holds "perhaps", a level the model has not seen'),
        ({"x": np.nan}, r'new data: column "x" is missing in row 0 \(counting from 0\)'),
        ({"f": None}, 'new data: column "f" is missing in row 0'),
        ({"x": np.inf}, 'column "x" is infinite in row 0'),
        ({"x": "a"}, "x"),
    ],
)
def test_new_data_that_do_not_fit(trained, toy, change, message):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(DataError, match=message):
            trained.fixed_matrix(toy.iloc[:5].assign(**change))


def test_a_boolean_may_be_given_as_zero_and_one(trained, toy):
    new = toy.iloc[:5]
    np.testing.assert_array_equal(trained.fixed_matrix(new.assign(flag=new.flag.astype(int))), trained.X[:5])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_offset_that_is_no_number_is_named(trained, toy, value):
    with pytest.raises(DataError, match=r'"n"|offset'):
        trained.offset_of(toy.iloc[:5].assign(n=value))


@pytest.mark.parametrize("value", [np.nan, np.inf, "a"])
def test_an_offset_column_is_needed_in_new_data(toy, value):
    design = design_of("y ~ x", toy, offset="o")
    np.testing.assert_array_equal(design.offset_of(toy), toy.o)
    with pytest.raises(DataError, match='"o"'):
        design.offset_of(toy.assign(o=value))
    with pytest.raises(DataError, match='no column "o"'):
        design.offset_of(toy.drop(columns="o"))


def test_a_missing_column_is_named(trained, toy):
    for column in ("x", "f", "h"):
        with pytest.raises(DataError, match=f'the data have no column "{column}"'):
            trained.fixed_matrix(toy.drop(columns=column))
    with pytest.raises(DataError, match='the data have no column "n"'):
        trained.offset_of(toy.drop(columns="n"))


def test_new_data_without_a_dropped_column(toy):
    design = design_of("y ~ x + I(2*x) + z", toy)
    np.testing.assert_array_equal(design.fixed_matrix(toy), design.X)


@pytest.mark.parametrize("make", [dict, pd.DataFrame, pl.DataFrame, lambda c: pl.DataFrame(c).lazy()])
def test_an_intercept_alone_needs_the_number_of_rows_only(toy, make):
    design = design_of("y ~ 1 + (1 | g)", toy)
    assert design.fixed_matrix(make({"g": ["north", "south"]})).tolist() == [[1.0], [1.0]]
