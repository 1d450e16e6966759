"""How well a model tells binary outcomes apart: the confusion table, its rates, and the area under the ROC curve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.errors import FitError
from bayesmlm.facts.answers import answer

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Classification", "area_under_curve", "auc", "classification", "confusion"]

Array = np.ndarray[Any, Any]

RATES = ("accuracy", "sensitivity", "specificity", "ppv", "npv")
"""Rates of a confusion table."""


@dataclass(frozen=True, slots=True)
class Classification:
    """A confusion table and its rates.

    Attributes
    ----------
    table : pandas.DataFrame
        Counts, observed outcomes by row and predicted ones by column, the event second; means over the draws of a
        posterior.
    rates : pandas.Series or pandas.DataFrame
        ``accuracy``; ``sensitivity`` and ``specificity``, the shares of the events and of the others that are
        predicted so; ``ppv`` and ``npv``, the shares of the predicted events and of the others that are so.
    threshold : float
        An event is predicted where its probability is above.
    estimand : str
    """

    table: pd.DataFrame
    rates: Any
    threshold: float
    estimand: str

    def __str__(self) -> str:
        return f"{self.table.round(1)}\n\n{self.rates.to_string(float_format='{:.4f}'.format)}"

    __repr__ = __str__


def confusion(probability: Array, events: Array, others: Array, threshold: float = 0.5) -> Array:
    """Counts of a classification: true negatives, false positives, false negatives, true positives.

    Parameters
    ----------
    probability : ndarray, shape (draws, n)
    events, others : ndarray, shape (n,)
        How many outcomes of each kind a row has.
    threshold : float

    Returns
    -------
    ndarray, shape (draws, 4)

    Examples
    --------
    >>> confusion(np.array([[0.2, 0.6, 0.9]]), np.array([0.0, 0.0, 1.0]), np.array([1.0, 1.0, 0.0])).tolist()
    [[1.0, 1.0, 0.0, 1.0]]
    """
    predicted = (probability > threshold).astype(float)
    false_positives, true_positives = predicted @ others, predicted @ events
    return np.column_stack(
        [others.sum() - false_positives, false_positives, events.sum() - true_positives, true_positives]
    )


def _rates(fit: Any, threshold: float, estimand: str) -> Array:
    """Rates, in the order of RATES, then the counts of :func:`confusion`."""
    counts = confusion(fit._means(estimand), *_outcomes(fit), threshold)
    tn, fp, fn, tp = counts.T
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = [(tn + tp) / counts.sum(axis=1), tp / (tp + fn), tn / (tn + fp), tp / (tp + fp), tn / (tn + fn)]
    return np.column_stack([*rates, counts])


def _outcomes(fit: Any) -> tuple[Array, Array]:
    """Events and other outcomes of each row, frequencies counted."""
    response, freq = fit.design.response, fit.design.freq
    return freq * response.y, freq * (response.trials - response.y)


def _binary(fit: Any, what: str) -> None:
    if not fit.design.family.is_binary:
        raise FitError(f"{what} is for binary responses; this model is {fit.design.family}")


def classification(
    fit: Any, threshold: float, estimand: str, interval: str | None, level: float, options: Mapping[str, Any]
) -> Classification:
    """Confusion table and rates; see :meth:`bayesmlm.fit.Fit.classification`."""
    import pandas as pd

    _binary(fit, "a classification")
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0.0 < threshold < 1.0:
        raise FitError(f"threshold should be a probability between 0 and 1, for example 0.5, not {threshold!r}")
    fact = partial(_rates, threshold=threshold, estimand=estimand)
    names = (*RATES, "tn", "fp", "fn", "tp")
    out = answer(fit, fact, names, interval, level, options)
    counts = (out if interval is None else out.estimate)[list(names[len(RATES) :])].to_numpy()
    if fit.reading != "posterior":
        counts = np.round(counts).astype(int)
    response = fit.design.response
    labels = list(response.levels) if len(response.levels) == 2 else ["0", "1"]
    table = pd.DataFrame(
        counts.reshape(2, 2), index=pd.Index(labels, name="observed"), columns=pd.Index(labels, name="predicted")
    )
    rates = out.loc[list(RATES)]
    return Classification(table, rates, float(threshold), estimand)


def area_under_curve(score: Array, events: Array, others: Array) -> float:
    """Probability that an event has a higher score than another outcome, ties counted half.

    Parameters
    ----------
    score, events, others : ndarray, shape (n,)
        How many outcomes of each kind a row has.

    Examples
    --------
    >>> area_under_curve(np.array([0.1, 0.4, 0.4, 0.8]), np.array([0.0, 0, 1, 1]), np.array([1.0, 1, 0, 0]))
    0.875
    """
    _, place = np.unique(score, return_inverse=True)
    above, below = np.bincount(place, weights=events), np.bincount(place, weights=others)
    return float(above @ (np.cumsum(below) - 0.5 * below) / (events.sum() * others.sum()))


def _areas(fit: Any, estimand: str) -> Array:
    events, others = _outcomes(fit)
    return np.array([[area_under_curve(row, events, others)] for row in fit._means(estimand)])


def auc(fit: Any, estimand: str, interval: str | None, level: float, options: Mapping[str, Any]) -> Any:
    """Area under the ROC curve; see :meth:`bayesmlm.fit.Fit.auc`."""
    _binary(fit, "the area under the ROC curve")
    events, others = _outcomes(fit)
    if not events.any() or not others.any():
        raise FitError("the response is the same in every row: there is nothing to tell apart")
    out = answer(fit, partial(_areas, estimand=estimand), ("auc",), interval, level, options)
    return float(out["auc"]) if interval is None else out
