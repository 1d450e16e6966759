"""The Python packages that are timed: how each is called, and how its answer is read.

Each ``prepare_*`` takes a case and its data and returns the parts to time, functions that run once and return the
seconds of what they timed by name.  What a package needs to have in another form (0/1 for a factor, counts of
failures) is made before its clock starts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from benchmarks.cases import Case

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PACKAGES", "Prepared"]

Part = Callable[[], dict[str, float]]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A model bound to data in one package, fitted once.

    Attributes
    ----------
    version : str
    parts : mapping of str to callable
        What can be timed.
    answer : mapping
        ``loglik`` and ``converged``, and ``coef`` and ``se`` by term name as R writes it, where names agree.
    """

    version: str
    parts: Mapping[str, Part]
    answer: Mapping[str, Any]


def _timed(call: Callable[[], Any]) -> Part:
    def part() -> dict[str, float]:
        began = time.perf_counter()
        call()
        return {"call": time.perf_counter() - began}

    return part


def _with_counted_event(case: Case, frame: pd.DataFrame) -> pd.DataFrame:
    """Turn a response of two levels into 0/1, the second level being the event."""
    name = case.formula.split("~")[0].strip()
    if name in frame and frame[name].dtype == "category":
        return frame.assign(**{name: frame[name].cat.codes.astype(float)})
    return frame


def _r_name(term: str) -> str:
    """R's name of a term of ours: ``urban[Y]`` is ``urbanY``, ``Intercept`` is ``(Intercept)``."""
    return "(Intercept)" if term == "Intercept" else term.replace("[", "").replace("]", "")


def prepare_bayesmlm(case: Case, frame: pd.DataFrame) -> Prepared:
    """``fit``: fit_ml of a model that is there.  ``whole``: Model and fit_ml, of which ``first`` is fit_ml."""
    import bayesmlm as bm

    family = "bernoulli" if case.family == "binomial" else case.family
    options: dict[str, Any] = {"n_agq": case.n_agq} if case.family == "binomial" else {"reml": True}
    model = bm.Model(case.formula, frame, family=family)
    fitted = model.fit_ml(**options)

    def fit() -> dict[str, float]:
        began = time.perf_counter()
        model.fit_ml(**options)
        return {"fit": time.perf_counter() - began}

    def whole() -> dict[str, float]:
        began = time.perf_counter()
        fresh = bm.Model(case.formula, frame, family=family)
        bound = time.perf_counter()
        fresh.fit_ml(**options)
        ended = time.perf_counter()
        return {"whole": ended - began, "first": ended - bound}

    # A REML fit is compared by its criterion, as logLik() of R does.
    criterion = getattr(fitted, "reml_criterion", None) if case.family == "gaussian" else None
    table = fitted.table()
    fixed = table[table.component == "fixed"]
    names = [_r_name(term) for term in fixed.term]
    answer = {
        "loglik": float(fitted.loglik if criterion is None else -0.5 * criterion),
        "converged": bool(fitted.converged),
        "coef": dict(zip(names, map(float, fixed.estimate), strict=True)),
        "se": dict(zip(names, map(float, fixed.std_error), strict=True)),
    }
    return Prepared(version("bayesmlm"), {"fit": fit, "whole": whole}, answer)


def prepare_glmm(case: Case, frame: pd.DataFrame) -> Prepared:
    """``call``: glmm.fit, without the degrees of freedom that only it computes."""
    import glmm

    frame, formula = _with_counted_event(case, frame), case.formula
    if "cbind(" in formula:
        # cbind() takes two columns here, no expression.
        frame = frame.assign(failures=frame["size"] - frame["incidence"])
        formula = formula.replace("size - incidence", "failures")
    options: dict[str, Any] = {"nagq": case.n_agq} if case.family == "binomial" else {"reml": True}

    def call() -> Any:
        return glmm.fit(frame, formula, case.family, satterthwaite=False, **options)

    fitted = call()
    answer = {
        "loglik": float(fitted.loglik),
        "converged": bool(fitted.converged),
        "coef": dict(zip(fitted.names, map(float, fitted.beta), strict=True)),
        "se": dict(zip(fitted.names, map(float, fitted.se), strict=True)),
    }
    return Prepared(version("glmm"), {"call": _timed(call)}, answer)


def prepare_mixedlm(case: Case, frame: pd.DataFrame) -> Prepared:
    """``call``: mixedlm's glmer or lmer.  It numbers the levels of a factor, so coefficients are not compared."""
    import mixedlm

    frame = _with_counted_event(case, frame)
    # Neither ^ nor cbind() is in its language.
    formula = case.formula.replace("^", "**").replace("cbind(incidence, size - incidence)", "incidence / size")

    def call() -> Any:
        if case.family == "gaussian":
            return mixedlm.lmer(formula, frame)
        return mixedlm.glmer(formula, frame, family=mixedlm.families.Binomial(), nAGQ=case.n_agq)

    fitted = call()
    answer = {"loglik": float(fitted.logLik().value), "converged": bool(fitted.converged)}
    return Prepared(version("mixedlm"), {"call": _timed(call)}, answer)


PACKAGES: dict[str, Callable[[Case, Any], Prepared]] = {
    "bayesmlm": prepare_bayesmlm,
    "glmm": prepare_glmm,
    "mixedlm": prepare_mixedlm,
}
"""Every package by the name it has on PyPI."""
