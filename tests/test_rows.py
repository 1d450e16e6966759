"""Answers beside the user's rows: missing values, labels, weights, offsets, new data; and what bad input is told."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

import bayesmlm as bm
from bayesmlm.errors import BayesmlmError, DataError, FitError
from bayesmlm.model import Model

MISSING = {3: "x", 5: "f", 7: "g", 9: "o", 11: "w", 13: "y"}
"""Row: column that misses its value there."""

COMPLETE = [i for i in range(120) if i not in MISSING]


@pytest.fixture(scope="module")
def holes(toy):
    """The table with one value missing in each of six columns, and labels of its own."""
    data = toy.assign(y=toy.y.astype(float), g=toy.g.astype(object), f=toy.f.astype(object))
    for row, column in MISSING.items():
        data.loc[row, column] = np.nan if column in "xowy" else None
    return data.set_index(pd.Index([f"row {i}" for i in range(120)]))


def fitted(formula, data, **keywords):
    return Model(formula, data, **keywords).fit_ml()


ARGUMENTS = {"family": "poisson", "weights": "w", "offset": "o"}
FORMULA = "y ~ scale(x) + poly(z, 2) + f + (scale(x) | g)"


# labels ---------------------------------------------------------------------------------------------------------


def test_predictions_and_residuals_have_the_users_labels(holes):
    fit = fitted(FORMULA, holes, **ARGUMENTS)
    labels = holes.index[COMPLETE]
    assert fit.predict().index.equals(labels)
    for kind in ("pearson", "deviance", "response"):
        assert fit.residuals(kind).index.equals(labels)
    assert fit.simulate(1, seed=1).index.equals(labels)
    # Put beside the data, every residual meets its own row.
    beside = holes.assign(fitted=fit.predict().estimate, residual=fit.residuals("response"))
    assert beside.residual.isna().tolist() == [i in MISSING for i in range(120)]
    np.testing.assert_allclose((beside.y - beside.fitted - beside.residual).dropna(), 0.0, atol=1e-12)


def test_a_filtered_table_keeps_its_labels(contraception):
    """What everybody does first: the index of a filtered table has gaps."""
    town = contraception[contraception.urban == "Y"]
    fit = fitted("use ~ age + (1 | district)", town)
    beside = contraception.assign(p=fit.predict().estimate)
    assert beside.p.notna().equals(contraception.urban == "Y")
    order = town.sample(frac=1.0, random_state=1)
    again = fitted("use ~ age + (1 | district)", order).predict().estimate
    np.testing.assert_allclose(again.loc[town.index], fit.predict().estimate, atol=1e-6)


def test_tables_without_labels_are_counted(holes):
    data = pl.from_pandas(
        holes.reset_index(drop=True).astype({"f": "str", "g": "str"}).replace({"None": None, "nan": None})
    )
    fit = fitted("y ~ x + f + (1 | g)", data, family="poisson", weights="w", offset="o")
    assert fit.predict().index.tolist() == fit.residuals().index.tolist() == COMPLETE
    assert fit.predict(data[:2]).index.tolist() == [0, 1]


def test_new_rows_keep_their_labels(holes):
    fit = fitted(FORMULA, holes, **ARGUMENTS)
    rows = holes.iloc[COMPLETE]
    new = fit.predict(rows)
    assert new.index.equals(rows.index)
    np.testing.assert_allclose(new, fit.predict(), rtol=1e-9)


# the state of the columns -------------------------------------------------------------------------------------


def test_columns_of_new_rows_are_made_as_they_were(holes):
    """scale() and poly() of one row, of any rows, in any order, are those of the rows fitted."""
    fit = fitted(FORMULA, holes, **ARGUMENTS)
    own, rows = fit.predict(), holes.iloc[COMPLETE]
    for chosen in ([0], [5, 2, 80], list(range(114))[::-1]):
        np.testing.assert_allclose(fit.predict(rows.iloc[chosen]), own.iloc[chosen], rtol=1e-9)
    complete = fitted(FORMULA, rows, **ARGUMENTS)
    np.testing.assert_allclose(complete.predict(rows), own, rtol=1e-6)


# counting, or refusing ------------------------------------------------------------------------------------------


def test_rows_left_out_are_counted_aloud(holes):
    fit = fitted(FORMULA, holes, **ARGUMENTS)
    (note,) = [n for n in fit.notes if "missing" in n]
    assert note == "6 of 120 rows were left out because a value is missing in y, x, f, g, weights, offset."
    assert "6 of 120 rows were left out" in " ".join(fit.summary().split())
    one = fitted("y ~ z", holes, family="poisson")
    assert one.notes == ["1 of 120 rows was left out because a value is missing in y."]


def test_rows_can_be_refused_instead(holes, toy):
    message = (
        r"3 of 120 rows miss a value in y, x, f \(counting from 0: 3, 5, 13\); fill them in, or .* na_action=\"drop\""
    )
    with pytest.raises(DataError, match=message):
        Model("y ~ x + f", holes, family="poisson", na_action="error")
    many = holes.assign(x=np.where(np.arange(120) % 2, np.nan, holes.x))
    with pytest.raises(DataError, match=r"60 of 120 rows miss a value in x \(counting from 0: 1, 3, 5, 7, 9, …\)"):
        Model("z ~ x", many, family="gaussian", na_action="error")
    weights = np.where(np.arange(120) == 4, np.nan, 1.0)
    with pytest.raises(DataError, match=r"1 of 120 rows miss a value in weights \(counting from 0: 4\)"):
        Model("y ~ x", toy, weights=weights, na_action="error")
    with pytest.raises(DataError, match='na_action should be "drop" or "error", not "omit"'):
        Model("y ~ x", toy, na_action="omit")


def test_whether_rows_are_refused_stays_with_the_model(holes):
    model = Model("y ~ z", holes.dropna(subset="y"), family="poisson", na_action="error")
    with pytest.raises(DataError, match="miss a value in x"):
        model.update("y ~ z + x")
    assert model.update("y ~ 1").design.nobs == 119


# bad input ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fit(contraception):
    return fitted("use ~ age*ch + urban + (1 | district)", contraception)


@pytest.mark.parametrize(
    ("change", "keywords", "message"),
    [
        ({"age": None}, {}, 'new data: the data have no column "age"; there are: '),
        ({"district": None}, {}, 'new data: the data have no column "district"'),
        ({"urban": ["N", "suburb"]}, {}, 'new data: column "urban" holds "suburb", a level the model has not seen; there are: N, Y'),
        ({"age": ["a", "b"]}, {}, 'new data: column "age" holds "a", "b"; the model knows it as numbers'),
        ({"age": [1.0, np.nan]}, {}, 'new data: column "age" is missing in row 1 (counting from 0)'),
        ({"age": [1.0, np.inf]}, {}, 'new data: column "age" is infinite in row 1 (counting from 0)'),
        ({"district": ["1", "Atlantis"]}, {"new_groups": "error"},
         'new data: row 1 (counting from 0) is of district "Atlantis", which the model has not seen; predict with '
         'new_groups="population" or "zero", or estimand="typical"'),
        ({}, {"level": 95}, "level should lie between 0 and 1, for example 0.95, not 95"),
        ({}, {"level": "0.95"}, "level should lie between 0 and 1"),
        ({}, {"level": None}, "level should lie between 0 and 1"),
        ({}, {"kind": "probability"}, 'kind should be "response" or "link", not "probability"'),
        ({}, {"estimand": "marginal"}, 'there is no estimand "marginal"'),
        ({}, {"new_groups": "drop"}, 'new_groups should be "population", "zero" or "error", not "drop"'),
    ],
)  # fmt: skip
def test_what_cannot_be_predicted(change, keywords, message, fit, contraception):
    new = contraception.iloc[:2].reset_index(drop=True).assign(**{k: v for k, v in change.items() if v is not None})
    new = new.drop(columns=[k for k, v in change.items() if v is None])
    with pytest.raises(BayesmlmError) as refused:
        fit.predict(new, **keywords)
    assert message in str(refused.value)


def test_a_group_not_needed_need_not_be_there(fit, contraception):
    new = contraception.iloc[:2].drop(columns="district")
    for estimand in ("typical", "population"):
        assert len(fit.predict(new, estimand=estimand)) == 2


@pytest.mark.parametrize("level", [0, 1, -0.5, 95, "a", None, np.nan, True])
def test_levels_of_intervals(level, fit):
    for ask in (fit.table, fit.confint, fit.predict):
        with pytest.raises(FitError, match="level should lie between 0 and 1"):
            ask(level=level)


def test_fits_of_other_rows_are_not_compared(fit, contraception):
    other = fitted("use ~ age + (1 | district)", contraception.iloc[:900])
    turned = contraception.assign(use=contraception.use.cat.reorder_categories(["Y", "N"]))
    flipped = fitted("use ~ age + (1 | district)", turned)
    for verb in (bm.anova, bm.compare):
        with pytest.raises(BayesmlmError, match=r"was fitted to 1934 rows and .* to 900, or to other rows"):
            verb(fit, other)
        with pytest.raises(BayesmlmError, match="have different responses or weights: not comparable"):
            verb(fit, flipped)
