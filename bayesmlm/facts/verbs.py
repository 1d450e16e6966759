"""Facts: the part of the protocol that says how good a fit is, with what each answer means."""

from __future__ import annotations

from typing import Any

from bayesmlm.facts.classification import Classification, auc, classification
from bayesmlm.facts.dispersion import dispersion
from bayesmlm.facts.shares import icc, mor, r2

__all__ = ["Facts"]


class Facts:
    """Shares of variance, odds between groups, dispersion, and how well outcomes are told apart, of any fit."""

    def r2(self, kind: str | None = None, interval: str | None = None, level: float = 0.95, **options: Any) -> Any:
        """Nakagawa's R² on the link scale (Nakagawa, Johnson & Schielzeth, 2017).

        Parameters
        ----------
        kind : {"theoretical", "delta", "observation", "lognormal", "trigamma"}, optional
            The residual variance.  ``theoretical`` is the link's own (π²/3 for the logit), and the default of binary
            responses; ``delta`` that of one observation by the delta method, at the mean of the model without
            predictors; for counts also ``lognormal``, ln(1 + 1/λ), and ``trigamma``, their default, which is exact.
            ``observation`` is the best of these that the family has.  A Gaussian model has its σ².  Of a binary
            response it is the variance of one trial, however many a row counts.
        interval : {"bootstrap", "posterior"}, optional
            With limits: by a parametric bootstrap of a likelihood, over the draws of a posterior.
        level : float
        **options
            ``n, seed, workers`` of the bootstrap.

        Returns
        -------
        pandas.Series or pandas.DataFrame
            ``marginal`` (fixed effects alone) and ``conditional`` (groups included); of a posterior the means over
            its draws.  With an interval a table ``estimate, std_error, conf_low, conf_high``.  ``attrs`` names the
            residual variance.

        Raises
        ------
        FitError
            For a kind the family does not have, or an interval the fit does not have.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> m = bm.Model("use ~ age*ch + I(age^2) + urban + (1 | urban:district)", bm.load_dataset("contraception"))
        >>> fit = m.fit_ml()
        >>> fit.r2().round(2).tolist(), fit.r2("delta").round(2).tolist()
        ([0.12, 0.2], [0.1, 0.17])
        >>> fit.r2().attrs["residual"]
        "π²/3, the logit's own"
        """
        return r2(self, kind, interval, level, options)

    def icc(self, kind: str | None = None, interval: str | None = None, level: float = 0.95, **options: Any) -> Any:
        """Intraclass correlation of each grouping, adjusted for the fixed effects, on the link scale.

        The share of a grouping in the variance that the fixed effects leave.  Where slopes vary, its variance is the
        mean over the rows (Johnson, 2014).

        Parameters
        ----------
        kind, interval, level, **options
            As in :meth:`r2`.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> fit = bm.Model("use ~ age + (1 | district)", bm.load_dataset("contraception")).fit_ml()
        >>> fit.icc().round(3).to_dict()
        {'district': 0.07}
        """
        return icc(self, kind, interval, level, options)

    def mor(self, interval: str | None = None, level: float = 0.95, **options: Any) -> Any:
        """Median odds ratio of each grouping: exp(√(2 σ²) Φ⁻¹(0.75)) (Larsen & Merlo, 2005).

        Of two people alike but for their groups, chosen at random, the odds of the one in the group of higher odds
        over those of the other, at the median.  Where slopes vary, σ² is the mean over the rows.

        Parameters
        ----------
        interval, level, **options
            As in :meth:`r2`.

        Raises
        ------
        FitError
            For a link other than the logit.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> fit = bm.Model("use ~ age + (1 | district)", bm.load_dataset("contraception")).fit_ml()
        >>> fit.mor().round(3).to_dict()
        {'district': 1.609}
        """
        return mor(self, interval, level, options)

    def dispersion(self, interval: str | None = None, level: float = 0.95, **options: Any) -> Any:
        """Pearson's χ² over its degrees of freedom, at the fitted values given the groups' own effects.

        A ratio well above 1 is over-dispersion: counts vary more than the family allows.  Of single 0/1 answers it
        says nothing.

        Parameters
        ----------
        interval, level, **options
            As in :meth:`r2`.

        Returns
        -------
        pandas.Series or pandas.DataFrame
            ``chisq, df, ratio, p_value``; of a posterior the means over its draws, without a p-value.

        Raises
        ------
        FitError
            For a Gaussian model, whose dispersion is its residual variance.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> fit = bm.Model("cbind(incidence, size - incidence) ~ period + (1 | herd)", bm.load_dataset("cbpp")).fit_ml()
        >>> fit.dispersion().round(2).to_dict()
        {'chisq': 63.08, 'df': 51.0, 'ratio': 1.24, 'p_value': 0.12}
        """
        return dispersion(self, interval, level, options)

    def classification(
        self, threshold: float = 0.5, estimand: str = "conditional", interval: str | None = None, level: float = 0.95,
        **options: Any,
    ) -> Classification:  # fmt: skip
        """Confusion table and rates of classifying the model's own rows.

        Those of a posterior are means over its draws, each of which classifies a little worse than their mean would.

        Parameters
        ----------
        threshold : float
            An event is predicted where its probability is above.
        estimand : {"conditional", "typical", "population"}
            Which probabilities; see :meth:`predict`.
        interval, level, **options
            As in :meth:`r2`; of the rates.

        Returns
        -------
        Classification
            With a ``table`` (observed by row, predicted by column) and named ``rates``.

        Raises
        ------
        FitError
            For a response that is not binary.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> m = bm.Model("use ~ age*ch + I(age^2) + urban + (1 | urban:district)", bm.load_dataset("contraception"))
        >>> found = m.fit_ml().classification()
        >>> found.table.to_numpy().tolist()
        [[975, 200], [399, 360]]
        >>> found.rates.round(4).to_dict()  # doctest: +NORMALIZE_WHITESPACE
        {'accuracy': 0.6903, 'sensitivity': 0.4743, 'specificity': 0.8298, 'ppv': 0.6429, 'npv': 0.7096}
        """
        return classification(self, threshold, estimand, interval, level, options)

    def auc(
        self, estimand: str = "conditional", interval: str | None = None, level: float = 0.95, **options: Any
    ) -> Any:
        """Area under the ROC curve, on the model's own rows.

        The probability that a row with the event is given a higher probability than one without, ties counted half.

        Parameters
        ----------
        estimand, interval, level, **options
            As in :meth:`classification`.

        Returns
        -------
        float or pandas.DataFrame

        Examples
        --------
        >>> import bayesmlm as bm
        >>> m = bm.Model("use ~ age*ch + I(age^2) + urban + (1 | urban:district)", bm.load_dataset("contraception"))
        >>> round(m.fit_ml().auc(), 4)
        0.7466
        """
        return auc(self, estimand, interval, level, options)
