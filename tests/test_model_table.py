"""Several fits in the columns of one table, and tables written for elsewhere."""

import csv
import io
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

import bayesmlm as bm
from bayesmlm.sheets.latex import escaped as in_latex
from bayesmlm.sheets.markdown import escaped as in_markdown
from tests.test_summary import Page
from tests.troubles import pairs

M_05 = "use ~ age*ch + I(age^2) + urban + (1 | urban:district)"


@pytest.fixture(scope="module")
def fits(contraception):
    m_01 = bm.Model("use ~ age + urban + livch + (1 | district)", contraception, name="m_01")
    m_05 = bm.Model(M_05, contraception, name="m_05")
    slope = bm.Model("use ~ age + (1 + urban | district)", contraception)
    return {
        "ml": m_01.fit_ml(), "m_05": m_05.fit_ml(), "map": m_05.fit_map(), "marginal": m_05.sample(method="marginal"),
        "gee": m_05.fit_gee(), "slope": slope.fit_ml(),
    }  # fmt: skip


@pytest.fixture(scope="module")
def table(fits):
    return bm.model_table(*fits.values())


def cells(table):
    return table.set_index("row").drop(columns="part")


# what stands in the table -----------------------------------------------------------------------------------------


def test_the_header_says_how_each_was_fitted_and_what_its_coefficients_are(table):
    assert list(table.columns[2:]) == [
        "m_01, ML, given the groups",
        "m_05, ML, given the groups",
        "m_05, posterior mode, given the groups",
        "m_05, posterior (marginal), given the groups",
        "m_05, GEE, population-averaged",
        "(6), ML, given the groups",
    ]
    said = " ".join(table.attrs["notes"])
    assert "Coefficients of a GEE are averaged over the population" in said
    assert "(6): use ~ age + (1 + urban | district), bernoulli (logit)." in said
    assert said.count(M_05) == 1


def test_cells_are_estimates_with_two_digits_of_their_errors(table, fits):
    """lme4's m_01: age −0.0266 (0.0079), district 0.461; m_05: urban 0.787 (0.172), 102 groups 0.568."""
    c = cells(table)
    first, second = c.iloc[:, 0], c.iloc[:, 1]
    assert (first["age"], first["livch[3+]"]) == ("-0.0266 (0.0079)", "1.35 (0.18)")
    assert (first["ch[Y]"], second["livch[3+]"]) == ("", "")
    assert second["urban[Y]"] == "0.79 (0.17)"
    assert second["SD of Intercept | urban:district"].startswith("0.568 (0.08")
    assert c.iloc[:, 5]["Correlation of Intercept, urban[Y] | district"].startswith("-0.79 (")
    assert c.iloc[:, 4]["Working correlation | urban:district"].startswith("0.077 (")
    own = fits["marginal"].table().set_index("term")
    assert c.iloc[:, 3]["ch[Y]"] == f"{own.estimate['ch[Y]']:.2f} ({own.std_error['ch[Y]']:.2f})"


def test_statistics_are_those_each_fit_has(table):
    c = cells(table)
    assert c.loc["Observations"].tolist() == ["1934"] * 6
    assert c.loc["Groups of district"].tolist() == ["60", "", "", "", "", "60"]
    assert c.loc["Groups of urban:district"].tolist() == ["", "102", "102", "102", "", ""]
    assert c.loc["Clusters of urban:district"].tolist() == ["", "", "", "", "102", ""]
    assert c.loc["ICC of urban:district"].tolist()[1] == "0.09"
    assert c.loc[["R² (fixed effects)", "R² (total)"]].iloc[:, 1].tolist() == ["0.12", "0.20"]
    # Only a maximised likelihood has criteria, only a GEE its own.
    assert [cell != "" for cell in c.loc["AIC"]] == [True, True, False, False, False, True]
    assert c.loc[["Log-likelihood", "AIC", "BIC"]].iloc[:, 0].tolist() == ["-1206.8", "2427.6", "2466.6"]
    assert [cell != "" for cell in c.loc["QIC"]] == [False, False, False, False, True, False]
    assert "ELPD (LOO)" not in c.index


def test_rows_keep_the_order_of_the_models(table):
    rows = table[table.part == "Fixed effects"].row.tolist()
    assert rows.index("Intercept") == 0
    assert rows.index("age") < rows.index("ch[Y]") < rows.index("I(age^2)") < rows.index("age:ch[Y]")
    parts = table.part.tolist()
    assert parts == sorted(parts, key=["Fixed effects", "Between and within groups", "Fit"].index)
    assert table.row.is_unique


def test_loo_is_there_when_asked_for_or_computed(contraception):
    fit = bm.Model("use ~ urban + (1 | district)", contraception.iloc[:300]).sample(method="marginal", draws=200)
    found = bm.loo(fit)
    assert cells(bm.model_table(fit, loo=True)).loc["ELPD (LOO)"].tolist() == [f"{found.elpd:.1f} ({found.se:.1f})"]
    assert "ELPD (LOO)" not in cells(bm.model_table(fit)).index
    held = type(fit)(fit.model, fit.to_arviz())
    assert "ELPD (LOO)" in cells(bm.model_table(held)).index
    assert "ELPD (LOO)" not in cells(bm.model_table(held, loo=False)).index


def test_intervals_and_ratios(fits):
    t = bm.model_table(fits["m_05"], fits["marginal"], style="ci", exponentiate=True, level=0.9)
    own = fits["m_05"].table(0.9).set_index("term").loc["urban[Y]"]
    low, high = np.exp([own.conf_low, own.conf_high])
    assert cells(t).loc["urban[Y]"].iloc[0] == f"{np.exp(own.estimate):.2f} [{low:.2f}, {high:.2f}]"
    # What is no coefficient stays as it is.
    sd = fits["m_05"].varcorr().sd[0]
    assert cells(t).loc["SD of Intercept | urban:district"].iloc[0].startswith(f"{sd:.3f} [")
    said = " ".join(t.attrs["notes"])
    assert "Estimates with 90 % intervals; of posteriors, means with equal-tailed intervals." in said
    assert "odds ratios (of the intercept, odds)" in said
    # A standard error of a ratio is the ratio times that of its logarithm.
    by_delta = cells(bm.model_table(fits["m_05"], exponentiate=True)).loc["urban[Y]"].iloc[0]
    assert by_delta == f"{np.exp(own.estimate):.2f} ({np.exp(own.estimate) * own.std_error:.2f})"


def test_stars_are_for_admissible_tests_only(fits):
    plain = bm.model_table(*fits.values())
    assert "*" not in "".join(plain.drop(columns=["part", "row"]).to_numpy().ravel())
    starred = cells(bm.model_table(*fits.values(), stars=True))
    assert starred.loc["age"].str.count(r"\*").tolist() == [3, 1, 0, 0, 0, 0]
    assert starred.loc["urban[Y]"].str.count(r"\*").tolist() == [3, 3, 0, 0, 3, 0]
    rough = bm.Model("y ~ x + (1 | g)", pairs(), name="rough").fit_ml()
    assert rough.table().p_value[1] < 0.001
    assert "*" not in cells(bm.model_table(rough, stars=True)).loc["x"].iloc[0]


def test_gaussian_fits_and_reml(sleepstudy):
    m = bm.Model("Reaction ~ Days + (Days | Subject)", sleepstudy, family="gaussian", name="m")
    c = cells(bm.model_table(m.fit_ml(reml=True), m.update("Reaction ~ Days").fit_ml(), m.fit_ml(reml=True)))
    assert c.columns[0] == "m, REML, given the groups"
    assert c.columns[2] == "m (2), REML, given the groups"
    assert c.loc["REML criterion"].tolist() == ["1743.6", "", "1743.6"]
    assert c.loc["SD of the residual"].iloc[0].startswith("25.6 (")


def test_refusals(fits, contraception):
    with pytest.raises(bm.FitError, match='no style "stars" of a table of models; there are: se, ci'):
        bm.model_table(fits["ml"], style="stars")
    with pytest.raises(bm.FitError, match=r"model_table takes fits, .* give at least one"):
        bm.model_table()
    with pytest.raises(bm.FitError, match="give them one by one"):
        bm.model_table([fits["ml"]])
    probit = bm.Model("use ~ urban", contraception, link="probit", name="p").fit_ml()
    with pytest.raises(bm.FitError, match=r"p: exp\(\) of a coefficient means nothing under the probit link"):
        bm.model_table(fits["ml"], probit, exponentiate=True)


# written for elsewhere --------------------------------------------------------------------------------------------


def test_it_prints_as_a_table(fits):
    text = str(bm.model_table(fits["m_05"], fits["gee"]))
    lines = text.splitlines()
    assert [line.split() for line in lines[:2]] == [["m_05", "m_05"], ["ML", "GEE"]]
    assert lines[2].endswith("given the groups population-averaged")
    assert "Fixed effects" in lines
    assert any(re.fullmatch(r"age:ch\[Y\] +0\.066 \(0\.026\) +0\.061 \(0\.027\)", line) for line in lines)


@pytest.fixture(scope="module")
def odd():
    """A table with everything that means something somewhere."""
    out = pd.DataFrame({"te_rm": ["a&b 5 %", "[x] #1 $ ~ ^ \\ {}", "χ² σ é k̂ ½ | <i>"], "value": [-1.5, 2.0, np.inf]})
    out.attrs["notes"] = ["A <note> with 5 % & ½ χ²(0)."]
    return out


def test_markdown_keeps_its_columns(odd, table):
    for what in (odd, table):
        lines = [line for line in bm.export(what, "markdown").splitlines() if line.startswith("|")]
        widths = {len(re.split(r"(?<!\\)\|", line)) for line in lines}
        assert len(widths) == 1
        assert set(lines[1]) == set("|:-")
    text = bm.export(odd, "markdown")
    assert "| a&amp;b 5 % | −1.500 |" in text
    assert r"\| \<i\>" in text
    assert in_markdown("a_b*") == r"a\_b\*"


def test_latex_is_escaped_and_balanced(odd, table):
    text = bm.export(odd, "latex")
    for part in (r"te\_rm", r"a\&b 5 \% & $-$1.500 \\", r"{}[x] \#1 \$ $\sim$ \textasciicircum{}", r"\textbackslash{}",
                 r"$\chi$$^2$", r"$\hat{k}$", r"$\frac{1}{2}$", r"$|$", r"$<$i$>$", r"$\infty$"):  # fmt: skip
        assert part in text
    for what in (odd, table):
        text = bm.export(what, "latex")
        bare = re.sub(r"\\[\\&%$#_{}]", "", text)
        assert bare.count("{") == bare.count("}")
        assert bare.count("$") % 2 == 0
        assert not re.search(r"[^\x00-\u017f]", text)
        body = text[text.index(r"\midrule") : text.index(r"\bottomrule")]
        rows = [line for line in body.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
        assert {len(re.split(r"(?<!\\)&", row)) for row in rows} == {len(what.columns) - (what is table)}
    assert in_latex("^") == r"\textasciicircum{}"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex here")
def test_latex_compiles(odd, table, fits, tmp_path):
    for name, what in (("odd", odd), ("table", table), ("fit", fits["marginal"])):
        bm.export(what, tmp_path / f"{name}.tex")
    inputs = "\n\n".join(rf"\input{{{name}}}" for name in ("odd", "table", "fit"))
    page = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{inputs}\end{{document}}"
    (tmp_path / "page.tex").write_text(page, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]


def test_html_is_a_piece_or_a_page(odd, table, tmp_path):
    for what in (odd, table):
        Page(bm.export(what, "html"))
        path = bm.export(what, tmp_path / "table.html")
        page = path.read_text(encoding="utf-8")
        assert page.startswith("<!doctype html>")
        assert "http" not in page
        Page(page.removeprefix("<!doctype html>"))
    assert "<i>" not in bm.export(odd, "html")


def test_csv_has_every_digit(fits, tmp_path):
    fit = fits["m_05"]
    path = bm.export(fit, tmp_path / "fit.csv")
    pd.testing.assert_frame_equal(
        pd.read_csv(path, keep_default_na=True).fillna({"group": "", "level": ""})[["term", "estimate", "p_value"]],
        pd.DataFrame(fit.table()[["term", "estimate", "p_value"]]),
        check_frame_type=False,
    )
    rows = list(csv.reader(io.StringIO(bm.export(fit.fixef(), "csv"))))
    assert rows[0] == ["term", "estimate"]
    assert float(rows[1][1]) == fit.fixef()["Intercept"]


def test_great_tables_share_a_page(table, fits):
    pages = [
        bm.export(what, "great_tables").as_raw_html() for what in (table, table, fits["m_05"], fits["m_05"].table())
    ]
    ids = [set(re.findall(r'\bid="([^"]+)"', page)) for page in pages]
    assert all(ids)
    assert len(set.union(*ids)) == sum(map(len, ids))
    assert "population-averaged" in pages[0]
    assert "Generalized linear mixed model fit by maximum likelihood" in pages[2]


def test_a_fit_is_written_as_its_summary(fits, tmp_path):
    path = bm.export(fits["gee"], tmp_path / "gee.md", style="concise", exponentiate=True)
    text = path.read_text(encoding="utf-8")
    assert "Odds ratio" in text
    assert "population-averaged" in text
    tables = bm.export(bm.anova(fits["ml"], fits["m_05"]), "markdown")
    assert "χ²" not in tables  # no test, no column
    assert "no likelihood-ratio test" in tables


def test_what_cannot_be_written_is_said(table, fits, tmp_path):
    with pytest.raises(
        bm.FitError, match=r'no format "xlsx"; there are: markdown, latex, html, csv, great_tables; or a '
    ):
        bm.export(table, "xlsx")
    with pytest.raises(bm.FitError, match=r"ends in \.md, \.tex, \.html, \.csv"):
        bm.export(table, tmp_path / "table.docx")
    with pytest.raises(bm.FitError, match="cannot be written: No such file"):
        bm.export(table, tmp_path / "nowhere" / "table.md")
    with pytest.raises(bm.FitError, match="takes a fit or a table of results, not a str"):
        bm.export("table", "markdown")
    with pytest.raises(bm.FitError, match="are for a fit"):
        bm.export(table, "markdown", exponentiate=True)
    with pytest.raises(bm.FitError, match='no summary style "brief"'):
        bm.export(fits["ml"], "markdown", style="brief")


def test_a_level_is_a_ratio_beside_an_intercept_and_odds_without(contraception):
    ratio = bm.Model("use ~ urban", contraception, name="a").fit_ml()
    odds = bm.Model("use ~ 0 + urban", contraception, name="b").fit_ml()
    text = " ".join(str(bm.model_table(ratio, odds, exponentiate=True)).split())
    assert "odds ratios (of the intercept, of urban[N], urban[Y] in b, odds)" in text


def test_stars_of_gaussian_models_are_of_t():
    """Five groups, and a predictor of groups: z makes 0.05 of what t leaves at 0.1."""
    rng = np.random.default_rng(2)
    group = np.repeat(np.arange(5), 20)
    x = np.array([0.0, 0.0, 1.0, 1.0, 1.0])[group]
    effects = np.array([-0.5, 0.5, 1.0, 1.6, 2.0])[group]
    data = pd.DataFrame({"y": effects + 0.1 * rng.normal(size=100), "x": x, "g": group})
    fit = bm.Model("y ~ x + (1 | g)", data, family="gaussian").fit_ml(reml=True)
    z, t = (fit.table(df=df).set_index("term").p_value["x"] for df in (None, "satterthwaite"))
    assert z < 0.05 < t
    assert "*" not in cells(bm.model_table(fit, stars=True)).loc["x"].iloc[0]


def test_tables_with_rows_by_name_are_written(fits):
    assert "| district | 0.06 |" in re.sub(r"0\.06\d*", "0.06", bm.export(fits["ml"].icc(), "markdown"))
    assert "| age | " in bm.export(fits["ml"].correlation(), "markdown")


def test_a_level_is_written_with_all_its_digits(fits):
    assert fits["ml"].table(level=0.999).attrs["interval"].startswith("99.9%")
    assert "99.9 % intervals" in str(bm.model_table(fits["ml"], style="ci", level=0.999))
