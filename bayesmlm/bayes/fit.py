"""BayesFit: the posterior reading of a model, with the DataTree inside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from bayesmlm.bayes.diagnostics import Diagnostics
from bayesmlm.bayes.draws import table_draws
from bayesmlm.bayes.marginal.certificate import columns_of, judge_draws
from bayesmlm.errors import FitError
from bayesmlm.fit import (
    ESTIMANDS,
    Fit,
    check_kind,
    check_level,
    chosen_rows,
    labelled,
    labels,
    prediction_rows,
    ranef_labels,
)
from bayesmlm.hypotheses import Hypothesis, read_hypotheses, savage_dickey
from bayesmlm.laplace import kernels
from bayesmlm.prediction import averaged_under, distinct_rows
from bayesmlm.priors import Prior
from bayesmlm.simulation import Parameters, draw_responses

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["BayesFit"]

Array = np.ndarray[Any, Any]

_MEANS = 1000
"""Draws at most that predictions of every row are made for where facts are averaged over draws."""


@dataclass(frozen=True, slots=True, repr=False)
class BayesFit(Fit):
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

    def _linear_predictor(self, rows: Any, estimand: str, new_groups: str) -> tuple[Array, Array]:
        """η per draw and row (S, m), and the variance of the effects that are integrated over."""
        posterior, design = self.tree["posterior"], self.design
        beta = posterior["beta"].to_numpy().reshape(-1, len(design.terms))
        eta = rows.offset + beta @ rows.X.T
        spread = np.zeros((len(beta), len(rows.X))) if estimand != "conditional" or any(
            (codes < 0).any() for codes in rows.codes) else np.zeros((1, 1))  # fmt: skip
        if estimand == "typical":
            return eta, spread
        for t, (group, label) in enumerate(zip(design.groups, design.group_labels, strict=True)):
            k = len(group.terms)
            z, codes = rows.z[t], rows.codes[t]
            known = (codes >= 0) & (estimand == "conditional")
            effects = posterior[f"ranef_{label}"].to_numpy().reshape(-1, group.n_levels, k)
            if known.any():
                for a in range(k):
                    eta[:, known] += effects[:, codes[known], a] * z[known, a]
            integrated = ~known & (new_groups != "zero" or estimand == "population")
            if integrated.any():
                sd = posterior[f"sd_{label}"].to_numpy().reshape(-1, k)
                R = np.broadcast_to(np.eye(k), (len(sd), k, k)).copy()
                if k > 1:
                    cor = posterior[f"cor_{label}"].to_numpy().reshape(len(sd), -1)
                    ia, ib = np.triu_indices(k, 1)
                    R[:, ia, ib] = R[:, ib, ia] = cor
                scaled = sd[:, None, :] * z[integrated]
                spread[:, integrated] += np.einsum("sia,sab,sib->si", scaled, R, scaled)
        return eta, spread

    def log_likelihood(self) -> Array:
        """Pointwise log-likelihood given the groups' own effects, (chain, draw, n), frequencies not multiplied."""
        design = self.design
        rows = prediction_rows(design, None, "conditional", "zero")
        eta, _ = self._linear_predictor(rows, "conditional", "zero")
        response, poisson = design.response, design.family.name == "poisson"
        sizes = self.tree["posterior"].sizes
        if design.family.name == "gaussian":
            sd = self._sigma()[:, None] / np.sqrt(design.weights)
            values = -0.5 * ((response.y - eta) / sd) ** 2 - np.log(sd) - 0.5 * np.log(2.0 * np.pi)
            return values.reshape(sizes["chain"], sizes["draw"], -1)
        trials = np.ones_like(response.y) if poisson else response.trials
        constant = kernels.row_constants(poisson, response.y, response.trials, design.weights)
        values = kernels.pointwise(
            design.family.link.code, response.y * design.weights, trials * design.weights, eta, constant
        )
        return values.reshape(sizes["chain"], sizes["draw"], -1)

    def _sigma(self) -> Array:
        """Draws of the residual standard deviation, (draws,); NaN where there is none."""
        posterior = self.tree["posterior"]
        if "sigma" in posterior:
            return np.asarray(posterior["sigma"].to_numpy().ravel())
        return np.full(posterior.sizes["chain"] * posterior.sizes["draw"], np.nan)

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
        rows = prediction_rows(design, None, "conditional", "zero")
        few = self if draws is None else self.thinned(draws)
        eta, _ = few._linear_predictor(rows, "conditional", "zero")
        sigma = few._sigma()
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
        posterior, design = self.tree["posterior"], self.design
        beta = posterior["beta"].to_numpy().reshape(-1, len(design.terms))
        factors, effects = [], []
        for group, label in zip(design.groups, design.group_labels, strict=True):
            k = len(group.terms)
            sd = posterior[f"sd_{label}"].to_numpy().reshape(-1, k)
            R = np.broadcast_to(np.eye(k), (len(sd), k, k)).copy()
            if k > 1:
                ia, ib = np.triu_indices(k, 1)
                cor = posterior[f"cor_{label}"].to_numpy().reshape(len(sd), -1)
                R[:, ia, ib] = R[:, ib, ia] = cor
            # A draw may sit so near a correlation of ±1 that rounding makes R indefinite.
            values, vectors = np.linalg.eigh(R)
            factors.append(sd[:, :, None] * vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :])
            effects.append(posterior[f"ranef_{label}"].to_numpy().reshape(-1, group.n_levels, k))
        sigma = self._sigma()
        for s in cycle(np.random.default_rng(seed).permutation(len(beta)).tolist()):
            yield Parameters(
                beta[s], tuple(part[s] for part in factors), float(sigma[s]), tuple(part[s] for part in effects)
            )

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
        low, high = np.quantile(flat, [0.5 - level / 2, 0.5 + level / 2], axis=0)
        rows = labels(self.design) + (ranef_labels(self.design) if ranef else [])
        out = labelled(
            rows,
            {
                "estimate": flat.mean(axis=0),
                "std_error": flat.std(axis=0, ddof=min(1, len(flat) - 1)),
                "conf_low": low,
                "conf_high": high,
                **columns_of(self.tree, draws),
            },
        )
        out.attrs.update(interval=f"{level:.0%} equal-tailed", estimand=ESTIMANDS["conditional"], engine=self.engine)
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
        low, high = np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2], axis=0)
        return draws.mean(axis=0), draws.std(axis=0, ddof=min(1, len(draws) - 1)), low, high

    def _means(self, estimand: str) -> Array:
        sizes = self.tree["posterior"].sizes
        few = self.thinned(_MEANS) if sizes["chain"] * sizes["draw"] > _MEANS else self
        rows = prediction_rows(self.design, None, estimand, "population")
        once, places = distinct_rows(rows, estimand)
        return few._averaged(*few._linear_predictor(once, estimand, "population"))[:, places]

    def _averaged(self, eta: Array, spread: Array) -> Array:
        """Means of rows under every draw, group effects that are not known averaged over."""
        means = self.design.family.link.inverse(eta)
        of = np.flatnonzero(np.broadcast_to(spread.any(axis=0), eta.shape[1]))
        if len(of):
            means[:, of] = averaged_under(eta[:, of], spread[:, of], self.design.family.link)
        return means

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
        import pandas as pd

        check_level(level)
        _refuse_df(df)
        read = read_hypotheses(hypotheses, labels(self.design))
        draws = self._values()
        sides = np.array([draws @ h.weights + h.constant for h in read])
        if joint:
            for h in read:
                if h.sign == 0:
                    raise FitError(f'"{h.text}" is one point, which has no probability: a joint one is of > and <')
            share = float(np.all([side * h.sign > 0.0 for side, h in zip(sides, read, strict=True)], axis=0).mean())
            both = ", ".join(h.text for h in read)
            return pd.DataFrame([{"hypothesis": both, "probability": share, "evidence_ratio": _odds(share)}])
        notes, shares, ratios = [], [], []
        for side, h in zip(sides, read, strict=True):
            if h.sign:
                shares.append(float((side * h.sign > 0.0).mean()))
                ratios.append(_odds(shares[-1]))
                continue
            density = self._prior_density(h)
            if density is None:
                notes.append(f"{h.text}: no evidence ratio, the prior's density there is not known in closed form.")
            ratio = np.nan if density is None else savage_dickey(side, density)
            ratios.append(ratio)
            shares.append(ratio / (1.0 + ratio))
        low, high = np.quantile(sides, [0.5 - level / 2, 0.5 + level / 2], axis=1)
        out = pd.DataFrame(
            {
                "hypothesis": [h.text for h in read],
                "estimate": sides.mean(axis=1),
                "std_error": sides.std(axis=1, ddof=min(1, sides.shape[1] - 1)),
                "conf_low": low,
                "conf_high": high,
                "probability": shares,
                "evidence_ratio": ratios,
            }
        )
        out.attrs.update(interval=f"{level:.0%} equal-tailed", notes=notes)
        return out

    def _prior_density(self, hypothesis: Hypothesis) -> float | None:
        """Prior density of the hypothesis' left side minus its right one at 0; None where it is not elementary."""
        design = self.design
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

    def vcov(self) -> pd.DataFrame:
        """Posterior covariance of the fixed effects, term × term."""
        import pandas as pd

        terms = list(self.design.terms)
        beta = self.tree["posterior"]["beta"].to_numpy().reshape(-1, len(terms))
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
        import pandas as pd

        check_level(level)
        check_kind(kind)
        rows, places = distinct_rows(prediction_rows(self.design, newdata, estimand, new_groups), estimand)
        eta, spread = self._linear_predictor(rows, estimand, new_groups)
        if kind == "link":
            # A new group's own deviation belongs to its linear predictor.
            noise = np.random.default_rng(0).standard_normal(eta.shape) if spread.any() else 0.0
            values = eta + np.sqrt(spread) * noise
        else:
            values = self._averaged(eta, spread)
        low, high = np.quantile(values, [0.5 - level / 2, 0.5 + level / 2], axis=0)
        out = pd.DataFrame(
            {
                "estimate": values.mean(axis=0),
                "std_error": values.std(axis=0, ddof=min(1, len(values) - 1)),
                "conf_low": low,
                "conf_high": high,
            }
        )
        out = out.iloc[places].set_axis(self._index(newdata))
        out.attrs.update(estimand=ESTIMANDS[estimand], interval=f"{level:.0%} equal-tailed", kind=kind)
        return out

    # what a posterior does not have ---------------------------------------------------------------------------

    def _instead(self, asked: str, instead: str) -> FitError:
        return FitError(f"a posterior has no {asked}; use {instead}")

    @property
    def loglik(self) -> float:
        """Not a property of a posterior: raises, naming what to use."""
        raise self._instead("maximised log-likelihood", 'bm.compare(..., by="loo") or fit.log_likelihood()')

    @property
    def aic(self) -> float:
        """Not a property of a posterior: raises, naming what to use."""
        raise self._instead("AIC", 'bm.compare(..., by="loo")')

    @property
    def aicc(self) -> float:
        """Not a property of a posterior: raises, naming what to use."""
        raise self._instead("AICc", 'bm.compare(..., by="loo")')

    @property
    def bic(self) -> float:
        """Not a property of a posterior: raises, naming what to use."""
        raise self._instead("BIC", 'bm.compare(..., by="loo")')

    @property
    def deviance(self) -> float:
        """Not a property of a posterior: raises, naming what to use."""
        raise self._instead("deviance", 'bm.compare(..., by="loo")')


def _refuse_df(df: str | None) -> None:
    if df is not None:
        raise FitError("a posterior has no degrees of freedom: its limits are quantiles of its draws")


def _odds(probability: float) -> float:
    return probability / (1.0 - probability) if probability < 1.0 else np.inf
