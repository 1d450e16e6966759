"""Verbs that tell a fit to people: its summary, its report, its form in a notebook."""

from __future__ import annotations

from typing import Any

from bayesmlm.sheets import Sheet

__all__ = ["Telling"]


class Telling:
    """A fit as text, as HTML and in sentences."""

    def summary(self, style: str | None = None, df: str | None = None, exponentiate: bool = False) -> str:
        """The fit as text, laid out as lme4's users expect.

        Parameters
        ----------
        style : {"full", "concise"}, optional
            lme4's layout, or fit statistics, R², ICC and coefficients only (as R's jtools).
        df : {"satterthwaite", "clusters"}, optional
            t tests of the fixed effects, see :meth:`table`: of a Gaussian model fitted by likelihood as lmerTest lays
            them out, of a GEE with clusters minus coefficients.
        exponentiate : bool
            Fixed effects as odds ratios, rate ratios or hazard ratios (:func:`bayesmlm.ratios.exponentiated`), with
            their limits in place of a standard error.

        Raises
        ------
        FitError
            For a style that does not exist, degrees of freedom that the fit has not, and ratios under a link that has
            none.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> m = bm.Model("Reaction ~ Days + (Days | Subject)", bm.load_dataset("sleepstudy"), family="gaussian")
        >>> text = m.fit_ml(reml=True).summary(df="satterthwaite")
        >>> print(text[text.index("Fixed") : text.index("Correlation")].rstrip())
        Fixed effects:
                  Estimate Std. Error   df t value Pr(>|t|)
        Intercept  251.405      6.825 17.0  36.838   <2e-16
        Days        10.467      1.546 17.0   6.771 3.26e-06
        >>> fit = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception")).fit_ml()
        >>> text = fit.summary(exponentiate=True)
        >>> print(text[text.index("Fixed") : text.index("Correlation")].rstrip())
        Fixed effects as odds ratios; of the intercept, odds:
                  Odds ratio   2.5 %  97.5 % z value Pr(>|z|)
        Intercept    0.49657 0.42051 0.58639  -8.252   <2e-16
        urban[Y]      1.9156  1.5276  2.4021   5.630 1.80e-08
        """
        from bayesmlm.sheets import printed

        return printed(self._sheet(style, df, exponentiate))

    def report(self, level: float = 0.95, df: str | None = None, width: int | None = 88) -> str:
        """The fit in sentences: the model, what it explains, its groups, each effect and what may be said of it.

        An effect of a likelihood or a GEE is called significant only with its p-value and the level, and only where its
        test is admissible: not where the fit did not converge, where answers are separated, where more quadrature
        points would move the estimate, or where a GEE has too few clusters.  No standard deviation is tested: zero is
        the end of its range, for which :func:`bayesmlm.anova` has a test.  A posterior gives the probability of each
        sign and the verdict on its draws; a posterior mode has no tests.

        Parameters
        ----------
        level : float
            Of intervals; 1 − level is that of significance.
        df : {"satterthwaite", "clusters"}, optional
            t tests, see :meth:`table`; of a Gaussian likelihood Satterthwaite's by default.
        width : int, optional
            Of lines; None leaves paragraphs whole.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> m = bm.Model("use ~ age*ch + I(age^2) + urban + (1 | urban:district)", bm.load_dataset("contraception"))
        >>> print(m.fit_ml().report(width=110).split("Effects")[1].partition(";")[0])
         given the groups, on the log-odds scale:
        - age (at age = 0, ch = N): negative, significant at the 5 % level (β = −0.05, 95 % CI [−0.09, −0.0030],
          z = −2.10, p = 0.036
        """
        from bayesmlm.prose import report

        return report(self, level, df, width)

    def _untested(self: Any, df: str | None = None) -> dict[str, str]:
        """Fixed effects whose test is not admissible, and why, as a clause; under "" why none is."""
        return {} if self.converged else {"": "the fit cannot be relied on"}

    def _sheet(self, style: str | None = None, df: str | None = None, exponentiate: bool = False) -> Sheet:
        """What the summary says, laid out to be written in any format."""
        from bayesmlm.summary import summary_sheet

        return summary_sheet(self, style, df, exponentiate)

    def _repr_html_(self) -> str:
        from bayesmlm.sheets.html import fragment

        return fragment(self._sheet())
