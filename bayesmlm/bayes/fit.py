"""BayesFit: the posterior reading of a model, with the DataTree inside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from bayesmlm.bayes.diagnostics import Diagnostics
from bayesmlm.bayes.draws import ParameterDraws, posterior_draws, summarised, table_draws
from bayesmlm.bayes.hypothesis import hypothesis_table
from bayesmlm.bayes.marginal.certificate import columns_of, judge_draws
from bayesmlm.bayes.predictions import expected_under, linear_predictors, prediction_table
from bayesmlm.errors import FitError
from bayesmlm.facts.unmaximised import Unmaximised
from bayesmlm.fit import ESTIMANDS, Fit, check_level, chosen_rows, labelled, labels, prediction_rows, ranef_labels
from bayesmlm.laplace import kernels
from bayesmlm.prediction import distinct_rows
from bayesmlm.simulation import Parameters, draw_responses

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["BayesFit"]

Array = np.ndarray[Any, Any]

_MEANS = 1000
"""Draws at most that predictions of every row are made for where facts are averaged over draws."""


@dataclass(frozen=True, slots=True, repr=False)
class BayesFit(Unmaximised, Fit):
    """A model's posterior.

    Attributes
    ----------
    model : Model
    tree : xarray.DataTree
        ``posterior`` with ``beta``, ``sd_…``, ``cor_…`` and ``ranef_…``, ``sample_stats``, ``observed_data``.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> m = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception"))
    >>> fit = m.sample(draws=50, tune=100, chains=2, seed=1)
    >>> fit.table().term.tolist()
    ['Intercept', 'urban[Y]', 'Intercept']
    """

    model: Any
    tree: xr.DataTree
    engine: ClassVar[str] = "nuts"
    reading: ClassVar[str] = "posterior"

    # draws --------------------------------------------------------------------------------------------------

    def _draws(self, ranef: bool) -> Array:
        """Draws (chain, draw, quantity) in the order of the table."""
        return table_draws(self.design, self.tree, ranef)

    def _own_predictors(self) -> tuple[ParameterDraws, Array]:
        """The draws, and η of the model's own rows under them, given the groups' own effects, (draws, n)."""
        draws = posterior_draws(self.design, self.tree)
        rows = prediction_rows(self.design, None, "conditional", "zero")
        return draws, linear_predictors(draws, rows, "conditional", "zero")[0]

    def log_likelihood(self) -> Array:
        """Pointwise log-likelihood given the groups' own effects, (chain, draw, n), frequencies not multiplied."""
        design = self.design
        draws, eta = self._own_predictors()
        response, poisson = design.response, design.family.name == "poisson"
        sizes = self.tree["posterior"].sizes
        if design.family.name == "gaussian":
            sd = draws.sigma[:, None] / np.sqrt(design.weights)
            values = -0.5 * ((response.y - eta) / sd) ** 2 - np.log(sd) - 0.5 * np.log(2.0 * np.pi)
            return values.reshape(sizes["chain"], sizes["draw"], -1)
        trials = np.ones_like(response.y) if poisson else response.trials
        constant = kernels.row_constants(poisson, response.y, response.trials, design.weights)
        values = kernels.pointwise(
            design.family.link.code, response.y * design.weights, trials * design.weights, eta, constant
        )
        return values.reshape(sizes["chain"], sizes["draw"], -1)

    def thinned(self, draws: int) -> BayesFit:
        """The fit with as few evenly spread draws of each chain as make up ``draws``, its other groups left out."""
        import xarray as xr

        posterior = self.tree["posterior"].to_dataset()
        each = min(-(-draws // posterior.sizes["chain"]), posterior.sizes["draw"])
        chosen = np.linspace(0, posterior.sizes["draw"] - 1, each).astype(int)
        return BayesFit(self.model, xr.DataTree.from_dict({"posterior": posterior.isel(draw=chosen)}))

    def posterior_predictive(self, seed: int = 1, draws: int | None = None) -> Array:
        """Replicated responses given the groups' own effects, (draws, n).

        Parameters
        ----------
        seed : int
        draws : int, optional
            How many posterior draws to use, evenly spread over the chains; all without it.
        """
        rng, design = np.random.default_rng(seed), self.design
        few, eta = (self if draws is None else self.thinned(draws))._own_predictors()
        sigma = few.sigma
        if draws is not None and draws < len(eta):
            chosen = np.linspace(0, len(eta) - 1, draws).astype(int)
            eta, sigma = eta[chosen], sigma[chosen]
        trials = design.response.trials
        # A weight divides a Gaussian row's variance; elsewhere it is of the likelihood, not of the response.
        weights = design.weights if design.family.name == "gaussian" else np.ones_like(trials)
        return np.array(
            [draw_responses(design.family, row, trials, weights, s, rng) for row, s in zip(eta, sigma, strict=True)]
        )

    def _parameters(self, seed: int) -> Iterable[Parameters]:
        draws = posterior_draws(self.design, self.tree)
        for s in cycle(np.random.default_rng(seed).permutation(len(draws)).tolist()):
            one = draws.chosen(s)
            yield Parameters(one.beta, one.factors, float(one.sigma), one.effects)

    def _again(self, model: Any) -> Self:
        sizes, attrs = self.tree["posterior"].sizes, self.tree.attrs
        return model.sample(
            draws=sizes["draw"], tune=attrs.get("tune"), chains=sizes["chain"], seed=attrs.get("seed", 1)
        )

    def to_arviz(self, log_likelihood: bool = True) -> xr.DataTree:
        """The DataTree for ArviZ, pointwise log-likelihood included, so that ``az.loo`` and the like work.

        Parameters
        ----------
        log_likelihood : bool
            Add the ``log_likelihood`` group (draws × rows numbers).
        """
        import xarray as xr

        tree = self.tree.copy()
        if log_likelihood and "log_likelihood" not in tree.children:
            values = xr.DataArray(
                self.log_likelihood(), dims=("chain", "draw", "row"),
                coords={"row": self.design.rows, **{c: tree["posterior"][c] for c in ("chain", "draw")}},
            )  # fmt: skip
            tree["log_likelihood"] = xr.DataTree(xr.Dataset({self.design.response.variable: values}))
        return tree

    # tables -------------------------------------------------------------------------------------------------

    def table(self, level: float = 0.95, ranef: bool = False, df: str | None = None) -> pd.DataFrame:
        """Posterior means, standard deviations and equal-tailed intervals; see :meth:`bayesmlm.fit.Fit.table`.

        Parameters
        ----------
        level : float
        ranef : bool
            Also the group effects.
        df : None
            A posterior has no degrees of freedom.
        """
        check_level(level)
        _refuse_df(df)
        draws = self._draws(ranef)
        flat = draws.reshape(-1, draws.shape[2])
        rows = labels(self.design) + (ranef_labels(self.design) if ranef else [])
        out = labelled(rows, {**summarised(flat, level), **columns_of(self.tree, draws)})
        out.attrs.update(
            interval=f"{100 * level:g}% equal-tailed", estimand=ESTIMANDS["conditional"], engine=self.engine
        )
        return out

    def confint(
        self, method: str = "equal-tailed", level: float = 0.95, parm: str | Sequence[str] | None = None
    ) -> pd.DataFrame:
        """Equal-tailed posterior intervals of every quantity in :meth:`table`.

        Parameters
        ----------
        method : {"equal-tailed"}
        level : float
        parm : str or sequence of str, optional
            Components, groups or terms to restrict the rows to.

        Raises
        ------
        FitError
            For the methods of a likelihood: a posterior has its own intervals.
        """
        if method != "equal-tailed":
            raise FitError(
                f'a posterior has no "{method}" intervals; fit.confint() gives its equal-tailed ones, '
                f"fit.model.fit_ml().confint() has wald, profile and bootstrap"
            )
        table = self.table(level)
        rows = chosen_rows(labels(self.design), parm)
        out = table.iloc[rows][["component", "group", "term", "estimate", "conf_low", "conf_high"]]
        out.attrs.update(table.attrs, method=method)
        return out.reset_index(drop=True)

    def _values(self) -> Array:
        draws = self._draws(False)
        return draws.reshape(-1, draws.shape[2])

    def _combined(self, T: Array, level: float, df: str | None) -> tuple[Array, Array, Array, Array]:
        _refuse_df(df)
        draws = self._values()[:, : len(self.design.terms)] @ T.T
        estimate, error, low, high = summarised(draws, level).values()
        return estimate, error, low, high

    def _means(self, estimand: str) -> Array:
        sizes = self.tree["posterior"].sizes
        few = self.thinned(_MEANS) if sizes["chain"] * sizes["draw"] > _MEANS else self
        rows = prediction_rows(self.design, None, estimand, "population")
        once, places = distinct_rows(rows, estimand)
        draws = posterior_draws(self.design, few.tree)
        return expected_under(draws, once, estimand, "population", self.design.family.link)[:, places]

    def hypothesis(
        self, hypotheses: str | Sequence[str], level: float = 0.95, joint: bool = False, df: str | None = None
    ) -> pd.DataFrame:
        """Probabilities of linear hypotheses in the terms of the model.

        Parameters
        ----------
        hypotheses : str or sequence of str
            As in :meth:`bayesmlm.ml.fit.MLFit.hypothesis`.
        level : float
        joint : bool
            The probability that all of several inequalities hold.
        df : None
            A posterior has no degrees of freedom.

        Returns
        -------
        pandas.DataFrame
            ``hypothesis, estimate, std_error, conf_low, conf_high, probability, evidence_ratio``, of the left side
            minus the right one.  The probability of ``>`` and ``<`` is the share of draws, the evidence ratio its odds.
            An equality has no probability of its own: its evidence ratio is the posterior density over the prior
            density there (Savage & Dickey), its probability that ratio's where both were as likely before; NaN where
            the prior's density is not known in closed form.  With ``joint`` one row
            ``hypothesis, probability, evidence_ratio``.

        Raises
        ------
        FitError
            For a hypothesis that cannot be read, or names what the fit does not have.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> m = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception"))
        >>> fit = m.sample(draws=50, tune=100, chains=2, seed=1)
        >>> fit.hypothesis("urban[Y] > 0").probability[0]
        np.float64(1.0)
        """
        _refuse_df(df)
        return hypothesis_table(self, hypotheses, level, joint)

    def vcov(self) -> pd.DataFrame:
        """Posterior covariance of the fixed effects, term × term."""
        import pandas as pd

        terms = list(self.design.terms)
        beta = self.tree["posterior"]["beta"].to_numpy()
        beta = beta.reshape(beta.shape[0] * beta.shape[1], len(terms))
        if len(beta) < 2:
            raise FitError("a covariance takes two draws or more, and there is one: sample more")
        return pd.DataFrame(np.atleast_2d(np.cov(beta.T)), index=terms, columns=terms)

    def diagnostics(self) -> Diagnostics:
        """What the sampler's record says; ends in one verdict sentence."""
        return judge_draws(self.design, self.tree)

    @property
    def converged(self) -> bool:
        """Whether the diagnostics find nothing wrong."""
        return self.diagnostics().ok

    @property
    def notes(self) -> list[str]:
        """What the reader should know, in sentences; the diagnostics' verdict last."""
        own = [str(self.tree.attrs["note"])] if self.tree.attrs.get("note") else []
        return [*self.design.notes, *own, self.diagnostics().verdict]

    def predict(
        self,
        newdata: Any = None,
        kind: str = "response",
        estimand: str = "conditional",
        new_groups: str = "population",
        level: float = 0.95,
    ) -> pd.DataFrame:
        """Predictions: posterior mean, standard deviation and equal-tailed interval of the expected response.

        Parameters
        ----------
        newdata : data frame, optional
            The model's own rows without it.
        kind : {"response", "link"}
        estimand : {"conditional", "typical", "population"}
        new_groups : {"population", "zero", "error"}
        level : float

        Raises
        ------
        DataError, FitError
            For new data that do not fit, or an estimand that does not exist.
        """
        return prediction_table(self, newdata, kind, estimand, new_groups, level)

    # what a posterior does not have ---------------------------------------------------------------------------

    def _no_maximum(self, asked: str) -> FitError:
        instead = 'bm.compare(..., by="loo")'
        if asked == "log-likelihood":
            asked, instead = "maximised log-likelihood", f"{instead} or fit.log_likelihood()"
        return FitError(f"a posterior has no {asked}; use {instead}")


def _refuse_df(df: str | None) -> None:
    if df is not None:
        raise FitError("a posterior has no degrees of freedom: its limits are quantiles of its draws")
