"""BayesFit: the posterior reading of a model, with the DataTree inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bayesmlm.bayes.diagnostics import Diagnostics, diagnose
from bayesmlm.errors import FitError
from bayesmlm.fit import ESTIMANDS, Fit, check_kind, check_level, labelled, labels, prediction_rows, ranef_labels
from bayesmlm.laplace import kernels
from bayesmlm.prediction import averaged_mean

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["BayesFit"]

Array = np.ndarray[Any, Any]


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

    # draws --------------------------------------------------------------------------------------------------

    def _draws(self, ranef: bool) -> Array:
        """Draws (chain, draw, quantity) in the order of the table."""
        posterior = self.tree["posterior"]
        design = self.design
        parts = [posterior["beta"].to_numpy()]
        parts += [posterior[f"sd_{label}"].to_numpy() for label in design.group_labels]
        for group, label in zip(design.groups, design.group_labels, strict=True):
            if group.pairs:
                parts.append(posterior[f"cor_{label}"].to_numpy())
        if ranef:
            for label in design.group_labels:
                values = posterior[f"ranef_{label}"].to_numpy()
                parts.append(values.reshape(*values.shape[:2], -1))
        return np.concatenate(parts, axis=2)

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
        trials = np.ones_like(response.y) if poisson else response.trials
        constant = kernels.row_constants(poisson, response.y, response.trials, design.weights)
        values = kernels.pointwise(
            design.family.link.code, response.y * design.weights, trials * design.weights, eta, constant
        )
        sizes = self.tree["posterior"].sizes
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
        rng = np.random.default_rng(seed)
        rows = prediction_rows(self.design, None, "conditional", "zero")
        few = self if draws is None else self.thinned(draws)
        eta, _ = few._linear_predictor(rows, "conditional", "zero")
        if draws is not None and draws < len(eta):
            eta = eta[np.linspace(0, len(eta) - 1, draws).astype(int)]
        mean = self.design.family.link.inverse(eta)
        if self.design.family.name == "poisson":
            return rng.poisson(mean)
        return rng.binomial(self.design.response.trials.astype(int), mean)

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

    def table(self, level: float = 0.95, ranef: bool = False) -> pd.DataFrame:
        """Posterior means, standard deviations and equal-tailed intervals; see :meth:`bayesmlm.fit.Fit.table`.

        Parameters
        ----------
        level : float
        ranef : bool
            Also the group effects.
        """
        check_level(level)
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
                **_convergence(draws),
            },
        )
        out.attrs.update(interval=f"{level:.0%} equal-tailed", estimand=ESTIMANDS["conditional"], engine=self.engine)
        return out

    def vcov(self) -> pd.DataFrame:
        """Posterior covariance of the fixed effects, term × term."""
        import pandas as pd

        terms = list(self.design.terms)
        beta = self.tree["posterior"]["beta"].to_numpy().reshape(-1, len(terms))
        return pd.DataFrame(np.atleast_2d(np.cov(beta.T)), index=terms, columns=terms)

    def diagnostics(self) -> Diagnostics:
        """What the sampler's record says; ends in one verdict sentence."""
        rows = labels(self.design)
        names = [term if component == "fixed" else f"{component} {group} {term}" for component, group, term, _ in rows]
        return diagnose(self.tree, names, _convergence(self._draws(False)))

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
        rows = prediction_rows(self.design, newdata, estimand, new_groups)
        eta, spread = self._linear_predictor(rows, estimand, new_groups)
        link = self.design.family.link
        if kind == "link":
            # A new group's own deviation belongs to its linear predictor.
            noise = np.random.default_rng(0).standard_normal(eta.shape) if spread.any() else 0.0
            values = eta + np.sqrt(spread) * noise
        elif spread.any():
            values = averaged_mean(eta, np.broadcast_to(spread, eta.shape), link)[0]
        else:
            values = link.inverse(eta)
        low, high = np.quantile(values, [0.5 - level / 2, 0.5 + level / 2], axis=0)
        index = pd.Index(self.design.rows) if newdata is None else pd.RangeIndex(values.shape[1])
        out = pd.DataFrame(
            {
                "estimate": values.mean(axis=0),
                "std_error": values.std(axis=0, ddof=min(1, len(values) - 1)),
                "conf_low": low,
                "conf_high": high,
            },
            index=index,
        )
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
    def bic(self) -> float:
        """Not a property of a posterior: raises, naming what to use."""
        raise self._instead("BIC", 'bm.compare(..., by="loo")')

    @property
    def deviance(self) -> float:
        """Not a property of a posterior: raises, naming what to use."""
        raise self._instead("deviance", 'bm.compare(..., by="loo")')


def _convergence(draws: Array) -> dict[str, Array]:
    """ESS and R-hat of every quantity, by ArviZ; NaN where there are too few draws or chains."""
    from arviz_stats.base import array_stats

    chains, n = draws.shape[:2]
    nan = np.full(draws.shape[2], np.nan)
    if n < 4:
        return {"ess_bulk": nan, "ess_tail": nan, "rhat": nan}
    return {
        "ess_bulk": np.asarray(array_stats.ess(draws, chain_axis=0, draw_axis=1, method="bulk")),
        "ess_tail": np.asarray(array_stats.ess(draws, chain_axis=0, draw_axis=1, method="tail", prob=(0.05, 0.95))),
        "rhat": np.asarray(array_stats.rhat(draws, chain_axis=0, draw_axis=1)) if chains > 1 else nan,
    }
