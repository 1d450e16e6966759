"""The fits of lme4 and glmmTMB in ``reference/likelihood.json``, and the same models fitted by our engine."""

import json
import os
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayesmlm.datasets import load_dataset
from bayesmlm.errors import DataError
from bayesmlm.model import Model

HERE = Path(__file__).parent / "reference"
REFERENCE = json.loads((HERE / "likelihood.json").read_text(encoding="utf-8"))
FACTORS = REFERENCE.pop("_note")["factors"] | {
    "VerbAgg": ["Gender", "item", "id", "btype", "situ"],
    "InstEval": ["s", "d", "dept", "service"],
}
EMBEDDED = ("contraception", "cbpp", "sleepstudy")
ELSEWHERE = ("VerbAgg", "InstEval")


@cache
def table_of(name):
    """A table of the package, of this folder, or of the folder BAYESMLM_DATA; the test is skipped without it."""
    if name in EMBEDDED:
        return load_dataset(name)
    if name == "nhanes_2012":
        try:
            return load_dataset(name).dropna(subset=["dep", "famsize", "sed", "race", "asthma"])
        except DataError:
            pytest.skip("BAYESMLM_DATA names no folder with nhanes_2012.csv")
    folder = Path(os.environ.get("BAYESMLM_DATA") or "no such folder") if name in ELSEWHERE else HERE
    path = folder / f"{name}.csv"
    if not path.is_file():
        pytest.skip(f"BAYESMLM_DATA names no folder with {name}.csv")
    return pd.read_csv(path, dtype=dict.fromkeys(FACTORS[name], "str"))


def model_of(name):
    """Our model of an entry."""
    entry = REFERENCE[name]
    data = table_of(entry["data"])
    if entry.get("added"):
        data = data.assign(**entry["added"])
    family = entry["family"]
    if family == "binomial" and "cbind" not in entry["formula"]:
        family = "bernoulli"
    return Model(entry["formula"], data, family, entry["link"], weights=entry["weights"])


OPTIONS = {
    "lme4": {"information": "expected"},
    "lme4_nagq0": {"n_agq": 0},
    "lme4_agq9": {"n_agq": 9},
    "lme4_agq25": {"n_agq": 25},
    "lme4_ml": {},
    "lme4_reml": {"reml": True},
    "glmmTMB": {},
    "glmmTMB_ml": {},
    "glmmTMB_reml": {"reml": True},
}
"""How the arms are asked of ``fit_ml``."""


@cache
def fit_of(name, arm):
    """Our fit of an arm, made once."""
    options = dict(OPTIONS[arm])
    if arm == "lme4" and REFERENCE[name]["link"] in ("logit", "log"):
        # Both informations are one.
        options = {}
    return _fit(name, tuple(sorted(options.items())))


@cache
def _fit(name, options):
    return model_of(name).fit_ml(**dict(options))


def our_name(name, data):
    """R's name of a coefficient in our spelling: ``age:chY`` is ``age:ch[Y]``."""
    if name == "(Intercept)":
        return "Intercept"
    parts = []
    for part in name.split(":"):
        for column in data.columns:
            level = part[len(column) :]
            if level and part.startswith(column) and level in set(data[column].astype(str)):
                part = f"{column}[{level}]"
                break
        parts.append(part)
    return ":".join(parts)


def aligned(fit, component, values):
    """Rows of a fit's table in the order of {name: value} (fixed) or {group: {name: value}} (sd): (table, values)."""
    table = fit.table()
    table = table[table.component == component]
    data = fit.model.data
    if component == "fixed":
        keys = [("", our_name(name, data)) for name in values]
        numbers = list(values.values())
    else:
        keys = [(group, our_name(name, data)) for group, row in values.items() for name in row]
        numbers = [value for row in values.values() for value in row.values()]
    spaceless = [(group, term.replace(" ", "")) for group, term in zip(table.group, table.term, strict=True)]
    assert sorted(spaceless) == sorted((group, term.replace(" ", "")) for group, term in keys)
    order = [spaceless.index((group, term.replace(" ", ""))) for group, term in keys]
    # An sd at a boundary has no standard error in the reference.
    return table.iloc[order], np.array([np.nan if v is None else v for v in numbers], dtype=float)


def correlations_of(fit, group, names):
    """Our correlations of a group as a matrix, in the order of R's names."""
    table = fit.table()
    table = table[(table.component == "cor") & (table.group == group)].set_index("term").estimate
    ours = [our_name(name, fit.model.data) for name in names]
    out = np.eye(len(ours))
    for a, first in enumerate(ours):
        for b, second in enumerate(ours):
            if a < b:
                pair = f"{first},{second}" if f"{first},{second}" in table else f"{second},{first}"
                out[a, b] = out[b, a] = table[pair]
    return out


# comparisons ----------------------------------------------------------------------------------------------------


def check_estimates(name, arm):
    """Coefficients within 2e-4 of their standard error, sds within 2e-5 (of σ; 1e-4 with correlations), logLik 2e-6.

    The references stand still to 1e-8 of a standard error; these are the bars the engine is held to.
    """
    fit, entry = fit_of(name, arm), REFERENCE[name]
    theirs = entry["arms"][arm]
    fixed, coef = aligned(fit, "fixed", theirs["coef"])
    _, errors = aligned(fit, "fixed", theirs["se"])
    assert np.max(np.abs(fixed.estimate - coef) / errors) < 2e-4
    ours, sds = aligned(fit, "sd", theirs["sds"])
    correlated = theirs.get("correlations") or {}
    scale = theirs.get("sigma", 1.0)
    np.testing.assert_allclose(ours.estimate / scale, sds / scale, rtol=0, atol=1e-4 if correlated else 2e-5)
    for group, matrix in correlated.items():
        np.testing.assert_allclose(correlations_of(fit, group, theirs["sds"][group]), matrix, rtol=0, atol=1e-4)
    if "sigma" in theirs:
        np.testing.assert_allclose(fit.sigma, theirs["sigma"], rtol=2e-5)
    loglik = theirs.get("logLik_full", theirs["logLik"])
    np.testing.assert_allclose(fit.loglik, loglik, rtol=0, atol=2e-6)
    # The maximum is one number: what was found elsewhere is a lower bound, to rounding.
    assert fit.loglik > loglik - 1e-8
    assert fit.converged
    assert fit.nobs == entry["nobs"]
    assert {group.name: group.n_levels for group in fit.design.groups} == entry["ngrps"]
    assert fit.df_model == theirs.get("df", fit.df_model)


def check_errors(name, arm):
    """Standard errors within 1e-3 of themselves: ours are by forward differences of an exact gradient.

    Those of sds are compared on the logarithmic scale, as glmmTMB has them; at a boundary there is none.  Of linear
    models ours are given the variances, as lme4's; glmmTMB's are not.
    """
    fit, theirs = fit_of(name, arm), REFERENCE[name]["arms"][arm]
    if "lme4" in arm or REFERENCE[name]["family"] != "gaussian":
        fixed, expected = aligned(fit, "fixed", theirs.get("se_precise", theirs["se"]))
        np.testing.assert_allclose(fixed.std_error, expected, rtol=1e-3)
    if "log_sd_se" in theirs:
        sds, expected = aligned(fit, "sd", theirs["log_sd_se"])
        known = np.isfinite(expected)
        np.testing.assert_allclose((sds.std_error / sds.estimate)[known], expected[known], rtol=1e-3)
    if "log_sigma_se" in theirs:
        residual = fit.table().set_index("component").loc["residual"]
        np.testing.assert_allclose(residual.std_error / fit.sigma, theirs["log_sigma_se"], rtol=1e-3)


def check_effects(name, arm):
    """Conditional modes within 1e-4 of their standard error, conditional (co)variances within 1e-4 of themselves."""
    fit = fit_of(name, arm)
    for group_name, effects in REFERENCE[name]["arms"][arm]["ranef"].items():
        ours = [i for i, group in enumerate(fit.design.groups) if group.name == group_name]
        terms = [term for i in ours for term in fit.design.groups[i].terms]
        levels = list(fit.design.groups[ours[0]].levels)
        columns = [terms.index(our_name(column, fit.model.data)) for column in effects["mode"]]
        rows = [levels.index(level) for level in effects["level"]]
        assert sorted(levels) == sorted(effects["level"])
        modes = np.hstack([fit.solution.modes[i] for i in ours])[rows][:, columns]
        variances = [fit.solution.mode_covariances[i][rows] for i in ours]
        if isinstance(effects["variance"], dict):
            # Uncorrelated terms: one column each, in R's order.
            for column, values in effects["variance"].items():
                at = terms.index(our_name(column, fit.model.data))
                np.testing.assert_allclose(variances[at][:, 0, 0], values, rtol=1e-4)
            sds = np.sqrt(np.hstack([v[:, 0] for v in variances]))[:, columns]
        else:
            V = variances[0][:, columns][:, :, columns]
            np.testing.assert_allclose(V, np.reshape(effects["variance"], V.shape), rtol=1e-4)
            sds = np.sqrt(np.diagonal(V, axis1=1, axis2=2))
        expected = np.column_stack(list(effects["mode"].values()))
        assert np.max(np.abs(modes - expected) / sds) < 1e-4
