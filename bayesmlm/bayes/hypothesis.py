"""Linear hypotheses of a posterior: the shares of draws that they hold in, and evidence ratios, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.arguments import check_level
from bayesmlm.bayes.draws import summarised
from bayesmlm.design import Design
from bayesmlm.errors import FitError
from bayesmlm.hypotheses import Hypothesis, read_hypotheses, savage_dickey
from bayesmlm.priors import Prior
from bayesmlm.tables import labels

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["hypothesis_table"]

Array = np.ndarray[Any, Any]


def hypothesis_table(fit: Any, hypotheses: str | Sequence[str], level: float, joint: bool) -> pd.DataFrame:
    """What :meth:`bayesmlm.bayes.fit.BayesFit.hypothesis` answers."""
    check_level(level)
    read = read_hypotheses(hypotheses, labels(fit.design))
    draws = fit._values()
    sides = np.array([draws @ h.weights + h.constant for h in read])
    return _joint(read, sides) if joint else _one_by_one(fit.design, read, sides, level)


def _joint(read: Sequence[Hypothesis], sides: Array) -> pd.DataFrame:
    import pandas as pd

    for h in read:
        if h.sign == 0:
            raise FitError(f'"{h.text}" is one point, which has no probability: a joint one is of > and <')
    share = float(np.all([side * h.sign > 0.0 for side, h in zip(sides, read, strict=True)], axis=0).mean())
    both = ", ".join(h.text for h in read)
    return pd.DataFrame([{"hypothesis": both, "probability": share, "evidence_ratio": _odds(share)}])


def _one_by_one(design: Design, read: Sequence[Hypothesis], sides: Array, level: float) -> pd.DataFrame:
    import pandas as pd

    notes, shares, ratios = [], [], []
    for side, h in zip(sides, read, strict=True):
        if h.sign:
            shares.append(float((side * h.sign > 0.0).mean()))
            ratios.append(_odds(shares[-1]))
            continue
        density = _prior_density(design, h)
        if density is None:
            notes.append(f"{h.text}: no evidence ratio, the prior's density there is not known in closed form.")
        ratio = np.nan if density is None else savage_dickey(side, density)
        ratios.append(ratio)
        shares.append(ratio / (1.0 + ratio))
    names = {"hypothesis": [h.text for h in read]}
    out = pd.DataFrame(names | summarised(sides.T, level) | {"probability": shares, "evidence_ratio": ratios})
    out.attrs.update(interval=f"{100 * level:g}% equal-tailed", notes=notes)
    return out


def _prior_density(design: Design, hypothesis: Hypothesis) -> float | None:
    """Prior density of the hypothesis' left side minus its right one at 0; None where it is not elementary."""
    used = np.flatnonzero(hypothesis.weights)
    # The intercept's prior is at the means of the predictors, and there ties it to their coefficients.
    if used[-1] >= len(design.terms) or (design.scaling.intercept in used and len(design.terms) > 1):
        return None
    priors, weights = [design.priors.fixed[j] for j in used], hypothesis.weights[used]
    if len(used) == 1 and priors[0].distribution != "flat":
        at = -hypothesis.constant / weights[0]
        return float(np.exp(priors[0].log_density(at)[0]) / abs(weights[0]))
    if any(prior.distribution != "normal" for prior in priors):
        return None
    mean = sum(w * prior["mean"] for w, prior in zip(weights, priors, strict=True)) + hypothesis.constant
    sd = float(np.linalg.norm([w * prior["sd"] for w, prior in zip(weights, priors, strict=True)]))
    return float(np.exp(Prior("normal", (mean, sd)).log_density(0.0)[0]))


def _odds(probability: float) -> float:
    return probability / (1.0 - probability) if probability < 1.0 else np.inf
