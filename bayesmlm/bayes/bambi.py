"""The same model in Bambi, where Bambi can express it.

Bambi reads the formula itself (by formulae), so what it made of it is held against the design: every column, every
group and every response has to be the same, or the model is refused.  The priors become Bambi's term by term.  Its
intercept refers to centred predictors, as ours does, and its group effects are non-centred by default.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.bars import quoted
from bayesmlm.design import Design, Group
from bayesmlm.errors import FitError
from bayesmlm.expressions import FUNCTIONS
from bayesmlm.frames import select
from bayesmlm.priors import Prior

if TYPE_CHECKING:
    import bambi
    import pandas as pd

__all__ = ["bambi_formula", "bambi_model"]

Array = np.ndarray[Any, Any]

_DISTRIBUTIONS = {
    "normal": ("Normal", {"mu": "mean", "sigma": "sd"}),
    "student_t": ("StudentT", {"nu": "df", "mu": "mean", "sigma": "scale"}),
    "cauchy": ("Cauchy", {"alpha": "location", "beta": "scale"}),
    "half_normal": ("HalfNormal", {"sigma": "sd"}),
    "half_student_t": ("HalfStudentT", {"nu": "df", "sigma": "scale"}),
    "half_cauchy": ("HalfCauchy", {"beta": "scale"}),
    "exponential": ("Exponential", {"lam": "rate"}),
    "gamma": ("Gamma", {"alpha": "shape", "beta": "rate"}),
}
"""Bambi's (PyMC's) name of each distribution, and of its parameters."""


# what Bambi cannot express --------------------------------------------------------------------------------------


def _refuse_inexpressible(design: Design, weights: str | None, freq: str | None) -> None:
    """Refuse a model whose meaning Bambi has no words for."""
    for group in design.groups:
        if len(group.terms) > 1:
            raise FitError(
                f"Bambi has no correlations between group effects, which the terms {', '.join(group.terms)} of "
                f'"{group.name}" have; write (… || {group.name}) for effects without, or use to_pymc()'
            )
    labels = [(group.name, group.terms) for group in design.groups]
    for label in labels:
        if labels.count(label) > 1:
            raise FitError(f'Bambi takes two equal terms of "{label[0]}" for one; leave one of them out')
    if design.dropped:
        raise FitError(
            f"Bambi keeps columns that others determine; leave {', '.join(design.dropped)} out of the formula"
        )
    weighted, repeated = bool((design.weights != 1.0).any()), bool((design.freq != 1.0).any())
    if weighted and repeated:
        raise FitError("Bambi takes one column of weights, not weights and freq; use to_pymc()")
    if (weighted or repeated) and design.family.is_binary:
        raise FitError("Bambi weights neither 0/1 responses nor counts of successes; use to_pymc()")
    if weighted and design.family.name == "gaussian":
        raise FitError("Bambi's weights repeat rows, those of a gaussian model divide σ²; use freq=, or to_pymc()")
    if (weighted and weights is None) or (repeated and freq is None):
        raise FitError("Bambi reads weights from the data: give them as the name of a column, not as an array")


# the formula ----------------------------------------------------------------------------------------------------


def _counts(body: ast.expr) -> str:
    """``cbind(s, f)`` or ``s / n`` as Bambi's ``p(s, n)``; ``""`` for any other response."""
    match body:
        case ast.Call(
            func=ast.Name(id="cbind"), args=[successes, ast.BinOp(left=trials, op=ast.Sub(), right=again)]
        ) if ast.dump(successes) == ast.dump(again):
            return f"p({ast.unparse(successes)}, {ast.unparse(trials)})"
        case ast.Call(func=ast.Name(id="cbind"), args=[successes, failures]):
            return f"p({ast.unparse(successes)}, {ast.unparse(successes)} + {ast.unparse(failures)})"
        case ast.BinOp(left=successes, op=ast.Div(), right=trials):
            return f"p({ast.unparse(successes)}, {ast.unparse(trials)})"
    return ""


def _response(design: Design, weights: str | None) -> str:
    """The left-hand side in Bambi's language."""
    response, formula = design.response, design.formula
    if formula.response in formula.response_columns:
        if not response.is_binary:
            raise FitError("Bambi takes counts, not proportions; write the response as successes / trials")
        text = quoted(formula.response) + (f"['{response.event}']" if response.levels else "")
    else:
        body = ast.parse(formula.response.replace("^", "**"), mode="eval").body
        if design.family.is_binary and (counts := _counts(body)):
            return counts
        text = ast.unparse(body) if isinstance(body, ast.Call) else f"I({ast.unparse(body)})"
    return f"weighted({text}, {quoted(weights)})" if weights else text


def bambi_formula(design: Design, weights: str | None = None, offset: str | None = None) -> str:
    """The formula of a design in Bambi's language.

    Parameters
    ----------
    design : Design
    weights, offset : str, optional
        Columns that the formula does not name.

    Examples
    --------
    >>> from bayesmlm.datasets import load_dataset
    >>> from bayesmlm.design import build_design
    >>> from bayesmlm.spec import Spec
    >>> spec = Spec("cbind(incidence, size - incidence) ~ period + (1 | herd)", family="binomial")
    >>> bambi_formula(build_design(spec, load_dataset("cbpp")))
    'p(incidence, size) ~ period + (1 | herd)'
    """
    # In one, because formulae stumbles over two.
    offsets = " + ".join(
        [text.replace("^", "**") for text in design.formula.offsets] + ([quoted(offset)] if offset else [])
    )
    bars = [bar.text for bar in design.formula.bars]
    right = [design.formula.fixed, *([f"offset({offsets})"] if offsets else []), *bars]
    return f"{_response(design, weights)} ~ {' + '.join(right)}"


def _frame(design: Design, data: Any, more: list[str]) -> pd.DataFrame:
    """The rows and columns the model uses, with the response the design has."""
    frame = select(data, list(dict.fromkeys([*design.formula.columns, *more]))).iloc[design.rows].copy()
    for name in frame.columns:
        if frame[name].dtype == "category":
            frame[name] = frame[name].cat.remove_unused_categories()
    response = design.response
    if design.formula.response in design.formula.response_columns:
        values = response.y if design.family.name == "gaussian" else response.y.astype(int)
        frame[response.name] = np.array(response.levels, dtype=object)[values] if response.levels else values
    return frame.reset_index(drop=True)


# priors ---------------------------------------------------------------------------------------------------------


def _prior(priors: list[Prior], what: str, **more: Any) -> Any:
    """Bambi's prior of one term, whose columns share the distribution."""
    import bambi

    names = {prior.distribution for prior in priors}
    if len(names) > 1:
        raise FitError(
            f"Bambi has one distribution for all columns of a term, those of {what} have {', '.join(sorted(names))}; "
            f"give them priors of one kind"
        )
    name = priors[0].distribution
    if name == "flat":
        return bambi.Prior("HalfFlat" if what.startswith("sd") else "Flat", **more)
    theirs, parameters = _DISTRIBUTIONS[name]
    values = {
        key: np.array([prior[own] for prior in priors]) if len(priors) > 1 else priors[0][own]
        for key, own in parameters.items()
    }
    return bambi.Prior(theirs, **values, **more)


def _set_priors(model: Any, design: Design) -> None:
    """Give the terms of a Bambi model the design's priors, after a look at what Bambi read."""
    import bambi

    component = model.parameters[model.family.likelihood.parent]
    terms = {}
    for name, columns in _matched_columns(component, design).items():
        terms[name] = _prior([design.priors.fixed[j] for j in columns], f'"{name}"')
    for (name, _), sds in zip(_matched_groups(component, design), design.priors.sd, strict=True):
        sd = _prior(list(sds), f'sd of "{name}"')
        terms[name] = bambi.Prior("Normal", mu=0.0, sigma=sd)
    priors = {model.family.likelihood.parent: terms}
    if design.priors.sigma is not None:
        priors["sigma"] = _prior([design.priors.sigma], "sd of the residuals")
    model.set_priors(priors)


# what Bambi read ------------------------------------------------------------------------------------------------


def _same(a: Array, b: Array) -> bool:
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-9, atol=1e-12))


def _reads(what: str) -> FitError:
    return FitError(f"Bambi reads {what} otherwise than we do, so that its model would be another; use to_pymc()")


def _matched_columns(component: Any, design: Design) -> dict[str, list[int]]:
    """Our columns of every term Bambi has, intercept included."""
    left = dict(enumerate(design.X.T))
    out: dict[str, list[int]] = {}
    intercept = {} if component.intercept_term is None else {"Intercept": component.intercept_term}
    for name, term in {**intercept, **component.common_terms}.items():
        out[name] = []
        for column in np.reshape(term.data, (len(design.X), -1)).T:
            found = [j for j, own in left.items() if _same(own, column)]
            if not found:
                raise _reads(f'"{name}"')
            out[name].append(found[0])
            del left[found[0]]
    if left:
        raise _reads(f'"{design.terms[min(left)]}"')
    return out


def _matched_groups(component: Any, design: Design) -> list[tuple[str, Array]]:
    """Bambi's name of every random-effect term, and its number of each of our groups."""
    theirs = list(component.group_specific_terms.items())
    if len(theirs) != len(design.groups):
        raise _reads("the group effects")
    out = []
    for group in design.groups:
        found = [
            (name, numbers)
            for name, term in theirs
            if _same(np.reshape(term.predictor, (len(design.X), -1)), group.z)
            and (numbers := _numbers(term.group_index, group)) is not None
        ]
        if not found:
            raise _reads(f'the effects of "{group.name}"')
        out.append(found[0])
    return out


def _numbers(index: Array, group: Group) -> Array | None:
    """Bambi's number of each of our groups; None where they are not the same groups."""
    numbers = np.full(group.n_levels, -1)
    numbers[group.codes] = index
    return numbers if _same(numbers[group.codes], index) and len(set(numbers)) == group.n_levels else None


def _check_response(model: Any, design: Design) -> None:
    """Refuse another response, other weights or another offset than the design's."""
    data = np.reshape(np.asarray(model.response_term.data, dtype=float), (len(design.X), -1))
    if not _same(data[:, 0], design.response.y):
        raise _reads(f'the response "{design.response.name}"')
    if model.family.name == "binomial" and not _same(data[:, 1], design.response.trials):
        raise _reads("the trials")
    if model.response_term.is_weighted and not _same(data[:, 1], design.weights * design.freq):
        raise _reads("the weights")
    offsets = model.parameters[model.family.likelihood.parent].offset_terms.values()
    total = sum((np.asarray(term.data, dtype=float).squeeze() for term in offsets), np.zeros(len(design.X)))
    if not _same(total, design.offset):
        raise _reads("the offset")


def bambi_model(design: Design, data: Any, weights: str | None = None, freq: str | None = None) -> bambi.Model:
    """Write a design as a Bambi model with the same priors.

    Parameters
    ----------
    design : Design
    data : data frame
        What the design was made from; Bambi reads the formula on its own.
    weights, freq : str, optional
        Columns of prior weights and row frequencies.

    Returns
    -------
    bambi.Model
        Built: ``model.backend.model`` is its ``pm.Model``.

    Raises
    ------
    FitError
        For what Bambi cannot express, or reads otherwise: correlated group effects, weights of 0/1 responses, a
        function formulae does not know, a basis it makes of other columns.

    Notes
    -----
    Groups of crossed factors, as in ``(1 | urban:district)``, are all combinations of levels in Bambi, those without
    rows included; the effects of these have their prior and change nothing else.
    """
    import bambi
    from formulae.transforms import C

    _refuse_inexpressible(design, weights, freq)
    offset = design.offset_column
    if np.any(design.offset) and offset is None and not design.formula.offsets:
        raise FitError("Bambi reads the offset from the data: give it as the name of a column, not as an array")
    weighting = weights if (design.weights != 1.0).any() else freq if (design.freq != 1.0).any() else None
    text = bambi_formula(design, weighting, offset)
    frame = _frame(design, data, [name for name in (weighting, offset) if name is not None])
    family = "binomial" if text.startswith("p(") else "bernoulli" if design.family.is_binary else design.family.name
    try:
        model = bambi.Model(
            text, frame, family=family, link=design.family.link.name, auto_scale=False,
            extra_namespace={**FUNCTIONS, "factor": C},
        )  # fmt: skip
        _check_response(model, design)
        _set_priors(model, design)
        model.build()
    except FitError:
        raise
    except Exception as error:  # formulae's own errors have no common base
        reason = str(error).splitlines()[0] if str(error) else ""
        raise FitError(f'Bambi cannot read "{text}" ({type(error).__name__}: {reason}); use to_pymc()') from None
    return model
