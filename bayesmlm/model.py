"""Model: binds a spec and data, and calls the engines, each imported only when it is called."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.arguments import check_count
from bayesmlm.bars import quoted
from bayesmlm.design import Design, build_design
from bayesmlm.errors import DataError, FitError, among
from bayesmlm.prior_rules import prior_rows
from bayesmlm.settings import POSTERIORS
from bayesmlm.sources import read_source
from bayesmlm.spec import Spec

if TYPE_CHECKING:
    from os import PathLike

    import bambi
    import pandas as pd
    import pymc as pm
    import xarray as xr

    from bayesmlm.bayes.fit import BayesFit
    from bayesmlm.bayes.sample import Progress
    from bayesmlm.gee.fit import GEEFit
    from bayesmlm.ml.fit import MAPFit, MLFit

__all__ = ["Model"]


class Model:
    """A spec bound to data: the thing you call.

    Parameters
    ----------
    formula : str or Spec
        An lme4 formula, or a spec that holds everything else too.
    data : data frame, optional
        pandas, polars or another library; a spec that names its source needs none.
    family : str
        ``bernoulli``, ``binomial``, ``poisson`` or ``gaussian``.
    link : str, optional
        The canonical link by default.
    priors : mapping, optional
        Term to prior, as a value or in text; see :mod:`bayesmlm.prior_rules`.
    weights, freq, offset : str or array, optional
        Prior weights (lme4's ``weights``), row frequencies, a known part of the linear predictor.
    name : str, optional
    na_action : {"drop", "error"}
        What to do with rows that miss a value: leave them out, which a note counts (predictions and residuals keep the
        labels of the others), or refuse them by name.

    Raises
    ------
    BayesmlmError
        One sentence that names what does not fit.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> m = bm.Model("use ~ age*ch + I(age^2) + urban + (1 | urban:district)", bm.load_dataset("contraception"))
    >>> m.fit_ml().varcorr().round(4).to_dict("records")
    [{'group': 'urban:district', 'term': 'Intercept', 'variance': 0.323, 'sd': 0.5683}]
    """

    __slots__ = ("_extras", "_response", "data", "design", "na_action", "spec")

    def __init__(
        self,
        formula: str | Spec,
        data: Any = None,
        family: str = "bernoulli",
        link: str | None = None,
        priors: Mapping[str, Any] | None = None,
        weights: Any = None,
        freq: Any = None,
        offset: Any = None,
        name: str | None = None,
        na_action: str = "drop",
    ) -> None:
        if isinstance(formula, Spec):
            spec = formula
            if spec.data is not None:
                from bayesmlm.frames import prepare

                data = read_source(spec.data) if data is None else prepare(data, spec.data.levels, spec.data.derive)
        else:
            spec = Spec(formula, family, link)
        if priors is not None:
            spec = replace(spec, priors=priors)
        if name is not None:
            spec = replace(spec, name=name)
        if data is None:
            raise DataError("the model has no data: give Model(formula, data), or a spec that names its source")
        named = {"weights": weights, "freq": freq, "offset": offset}
        columns: dict[str, Any] = {key: value for key, value in named.items() if isinstance(value, str)}
        self.spec: Spec = replace(spec, **columns) if columns else spec
        self.data = data
        self._response: Any = None
        self._extras: dict[str, Any] = {k: v for k, v in named.items() if v is not None and k not in columns}
        self.na_action = na_action
        self.design: Design = build_design(self.spec, data, na_action=na_action, **self._extras)

    @classmethod
    def of_design(cls, spec: Spec, design: Design) -> Model:
        """Return the model of a spec whose arrays are there already, without the data frame they were made from.

        It is fitted and sampled as any other; what looks at the data frame again (``update``, new data) it cannot do.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> m = bm.Model("y ~ 1", {"y": [0, 0, 1, 1]})
        >>> bm.Model.of_design(m.spec, m.design).fit_ml().loglik == m.fit_ml().loglik
        True
        """
        if not isinstance(spec, Spec) or not isinstance(design, Design):
            raise DataError("Model.of_design takes a spec and its design, such as model.spec and model.design are")
        if design.formula != spec.parsed:
            raise DataError(f"the design is of {design.formula.text}, the spec of {spec.parsed.text}: give one of both")
        model = cls.__new__(cls)
        model.spec, model.design, model.data, model.na_action = spec, design, None, "drop"
        model._response, model._extras = None, {}
        return model

    def __repr__(self) -> str:
        return f"<Model {self.spec.label}: {self.design.formula.text}, {self.design.family}, {self.design.nobs} rows>"

    @property
    def name(self) -> str:
        """Name of the model, or its formula."""
        return self.spec.label

    def update(self, formula: str, name: str = "") -> Model:
        """Return the model with another formula, on the same data and with the same priors."""
        spec = replace(self.spec, formula=formula, name=name, data=None)
        other = Model(spec, self.data, na_action=self.na_action, **self._extras)
        same = other.design.response.name == self.design.response.name
        return other.with_response(self._response) if same and self._response is not None else other

    def reduced(self, right: str) -> Model:
        """Return the model with another right-hand side, for the same response and rows; priors are the defaults.

        Rows that a column left out would have kept away stay away, so that likelihoods are of the same data.

        Parameters
        ----------
        right : str
            What stands after the ``~``.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> data = {"y": [0, 1, 1, 0, 1], "x": [1.0, None, 0.0, 3.0, 2.0]}
        >>> bm.Model("y ~ x", data).reduced("1").design.nobs
        4
        """
        formula = self.design.formula
        left = quoted(formula.response) if formula.response in formula.response_columns else formula.response
        spec = replace(self.spec, formula=f"{left} ~ {right}", name="", priors={}, data=None)
        data, extras, rows = self.data, self._extras, self.design.rows
        if len(rows) < self.design.n_rows:
            from bayesmlm.frames import select

            named = [name for name in (spec.weights, spec.freq, spec.offset) if name is not None]
            data = select(data, list(dict.fromkeys([*spec.parsed.columns, *named]))).iloc[rows]
            extras = {name: np.asarray(values)[rows] for name, values in extras.items()}
        other = Model(spec, data, **extras)
        return other if self._response is None else other.with_response(self.design.response.y)

    def with_response(self, y: Any) -> Model:
        """Return the model with another response, for refits; no formula is read again.

        The priors stay as they were resolved against the data.

        Parameters
        ----------
        y : array-like
            One value per row of the data, where those of rows left out are not looked at, or one per row of the
            model: 0/1 or the levels, successes of the same trials, counts, numbers.

        Raises
        ------
        DataError
            For another length, or values the family cannot have.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> m = bm.Model("y ~ 1", {"y": [0, 0, 1, 1]})
        >>> round(m.with_response([0, 1, 1, 1]).fit_ml().fitted()[0], 6)
        np.float64(0.75)
        """
        other = copy(self)
        other.design = self.design.with_response(y)
        response = other.design.response
        # As long as the data, so that an update may use other rows of them.
        full = np.full(self.design.n_rows, np.nan)
        full[self.design.rows] = response.y
        other._response = full
        return other

    def standardised(self, taken: Sequence[str] = ()) -> Model:
        """Return the model on z-scores: of numeric predictors before any transform, and of a Gaussian response.

        ``I(age^2)`` is then the square of the z-score.  Predictors that a logarithm or a root is taken of, that are
        compared with a number, or that are a grouping, an offset or a part of the response too stay as they are, and
        so does a response that is an expression.  Priors are those given, and refer to the new scale.

        Parameters
        ----------
        taken : sequence of str
            Further columns that stay as they are.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> m = bm.Model("use ~ age*ch + I(age^2) + urban + (1 | urban:district)", bm.load_dataset("contraception"))
        >>> m.standardised().fit_ml().fixef().round(2).to_dict()  # doctest: +NORMALIZE_WHITESPACE
        {'Intercept': -1.34, 'age': -0.42, 'ch[Y]': 1.21, 'I(age^2)': -0.46, 'urban[Y]': 0.79, 'age:ch[Y]': 0.6}
        """
        from bayesmlm.frames import replaced
        from bayesmlm.standardising import standardised_columns

        found = standardised_columns(self.design, self.data, tuple(taken))
        spec = replace(self.spec, data=None)
        other = Model(spec, replaced(self.data, found.columns), na_action=self.na_action, **self._extras)
        if self._response is None:
            return other
        y = self.design.response.y
        return other.with_response(y if found.response is None else (y - found.response[0]) / found.response[1])

    # readings -----------------------------------------------------------------------------------------------

    def fit_ml(self, n_agq: int = 1, reml: bool = False, information: str = "observed") -> MLFit:
        """Fit by maximum likelihood.

        Parameters
        ----------
        n_agq : int
            Points of adaptive Gauss-Hermite quadrature for one term (per column); 1 is the Laplace approximation,
            0 lme4's fast mode.
        reml : bool
            Restricted maximum likelihood, of a gaussian model.
        information : {"observed", "expected"}
            What enters the determinant of the Laplace approximation where the link is not canonical: glmmTMB's, or
            lme4's choice.

        Raises
        ------
        FitError
            When the likelihood has no maximum (a constant response, separation), naming the column.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> m = bm.Model("Reaction ~ Days + (Days | Subject)", bm.load_dataset("sleepstudy"), family="gaussian")
        >>> round(m.fit_ml(reml=True).reml_criterion, 4), round(m.fit_ml().deviance, 4)
        (1743.6283, 1751.9393)
        """
        from bayesmlm.ml.engine import solve_ml
        from bayesmlm.ml.fit import MLFit

        return MLFit(self, solve_ml(self.design, n_agq, reml, information))

    def fit_map(self, n_agq: int = 1, information: str = "observed") -> MAPFit:
        """Find the posterior mode: the maximum of likelihood times priors, the group effects integrated out.

        The priors are the model's, densities on the user's scale (see :meth:`priors`); with flat ones the mode is the
        maximum of the likelihood.  Where none is given, coefficients and a Gaussian residual's standard deviation have
        the defaults that sampling has.  The standard deviation of a group effect has ``gamma(2, 0.1)`` (both columns
        of unit scale) and a correlation matrix ``lkj(2)``, whose densities vanish at a standard deviation of 0 and at
        correlations of ±1: no mode lies at the boundary.  An estimate that would be 0 moves about one standard error
        away from it, others hardly (Chung, Rabe-Hesketh, Dorie, Gelman & Liu, 2013).  A half_student_t, the default
        of sampling, is highest at 0 and would leave the mode there.

        Parameters
        ----------
        n_agq : int
            As in :meth:`fit_ml`.
        information : {"observed", "expected"}
            As in :meth:`fit_ml`.

        Raises
        ------
        FitError
            When the priors do not keep the mode finite: flat ones where predictors separate the responses.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> separated = {"y": [0, 0, 0, 1, 1, 1], "x": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]}
        >>> fit = bm.Model("y ~ x", separated, priors={"x": "normal(0, 1)"}).fit_map()
        >>> fit.fixef().round(2).to_dict()
        {'Intercept': -3.92, 'x': 1.12}
        """
        from bayesmlm.ml.engine import solve_map
        from bayesmlm.ml.fit import MAPFit

        return MAPFit(self, solve_map(self.design, n_agq, information))

    def fit_gee(
        self,
        groups: str | None = None,
        corr: Any = "exchangeable",
        time: str | None = None,
        scale: float | None = None,
        se: str = "robust",
        flavour: str = "yan_fine",
        matrix: Any = None,
        tol: float | None = None,
        max_iter: int = 100,
    ) -> GEEFit:
        """Fit the means of the population by generalised estimating equations.

        Bars of the formula are left out: responses of a cluster are correlated by the working correlation instead.

        Parameters
        ----------
        groups : str, optional
            Column of the clusters' ids, or several joined by ``:``; rows of a cluster may stand anywhere.  Without it
            the grouping of the formula's bars.  ``"runs:district"`` takes every run of adjacent rows with equal
            ``district`` as a cluster, as R's gee and geepack do.
        corr : {"exchangeable", "independence", "ar1", "unstructured", "fixed"}
            Or a matrix, which is ``fixed``.
        time : str, optional
            Column that says which visit a row is: numbers, or a categorical with its levels in order.  ``ar1`` needs
            it, and correlations fall as α^|t − s|; ``unstructured`` and ``fixed`` need it where clusters differ in
            their visits.
        scale : float, optional
            Fixes the scale, which is estimated without it.
        se : {"robust", "naive", "bias_corrected", "mancl_derouen", "kauermann_carroll", "fay_graubard"}
            Standard errors of the coefficients; ``bias_corrected`` is Mancl and DeRouen's correction for few clusters.
        flavour : {"yan_fine", "geepack", "gee"}
            Whose estimators of scale and correlations.  ``yan_fine`` has the estimating equations of Yan and Fine
            (2004).  ``geepack`` has its figures to the digit: the same, but for the standard errors of scale and
            correlations, which depart from those equations (see :mod:`bayesmlm.gee.association`), and for trials and
            weights.  ``gee`` has n − p in the denominators, and no such standard errors.
        matrix : array, optional
            The correlations of ``fixed``, in the order of the visits.
        tol : float, optional
            Stop early, where the R package of the flavour would: at a largest change of any coefficient by this share
            (gee, 1e-3), or of coefficients, scale and correlations by this much (geepack, 1e-4).
        max_iter : int

        Raises
        ------
        DataError, FitError
            For clusters that cannot be read, a correlation that the clusters cannot tell, and equations without a
            solution.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> m = bm.Model("use ~ age + urban + livch", bm.load_dataset("contraception"))
        >>> m.fit_gee(groups="district", corr="exchangeable").fixef().round(3)["urban[Y]"]
        np.float64(0.68)
        """
        from bayesmlm.gee.clusters import default_groups
        from bayesmlm.gee.engine import solve_gee
        from bayesmlm.gee.fit import GEEFit
        from bayesmlm.gee.options import read_options

        groups = default_groups(self.design) if groups is None else groups
        options = read_options(groups, corr, time, scale, se, flavour, matrix, tol, max_iter)
        return GEEFit(self, options, solve_gee(self.design, self.data, options))

    def sample(
        self,
        draws: int = 1000,
        tune: int | None = None,
        chains: int = 4,
        seed: int = 1,
        method: str = "nuts",
        progress: Progress | None = None,
        centered: bool | None = None,
        checkpoint: str | PathLike[str] | None = None,
    ) -> BayesFit:
        """Sample the posterior.

        NUTS walks the fused kernel of the model that ``to_pymc`` writes down, in coordinates whitened at the mode that
        ``fit_map`` finds.  Where its draws cannot be trusted it is tuned longer, then the PyMC model itself is sampled;
        a note says so.

        ``marginal`` needs no chains: draws of nested Laplace, or of quadrature over the group effects where that is not
        enough, are weighted against the exact posterior, and come with a certificate
        (:class:`~bayesmlm.bayes.marginal.certificate.Certificate`).  ``auto`` is ``marginal`` where a certificate
        holds, and NUTS where none does, which a note says.

        Parameters
        ----------
        draws, chains : int
            Draws per chain, after tuning; ``marginal`` makes ``draws * chains`` in all, as one chain.
        tune : int, optional
            Tuning steps per chain; chosen by the sampler without it (NUTS).
        seed : int
            The same seed gives the same draws.
        method : {"nuts", "marginal", "auto"}
        progress : callable, optional
            Called with draws done, draws in all and divergences.  Without it a bar shows on a terminal after two
            seconds.
        centered : bool, optional
            Force centred or standardised group effects; without it they are as the data speak of each group (NUTS).
        checkpoint : path, optional
            Where draws are kept while a run of more than a minute goes on; a temporary file without it, which is named
            on the error stream.  It is removed when the run is done; ``read_draws`` reads what a killed one left
            (NUTS).

        Returns
        -------
        BayesFit
            A :class:`~bayesmlm.bayes.marginal.fit.MarginalFit`, which knows its marginal likelihood, where there are no
            chains.

        Raises
        ------
        FitError
            For a method that does not exist, no draws, or an improper posterior; by ``marginal`` where no certificate
            holds.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> m = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception"))
        >>> fit = m.sample(draws=500, chains=2, seed=1)
        >>> fit.table().term.tolist(), fit.tree["posterior"]["beta"].shape
        (['Intercept', 'urban[Y]', 'Intercept'], (2, 500, 2))
        >>> m.sample(method="auto").diagnostics().way
        'importance-weighted Laplace'
        """
        if method not in POSTERIORS:
            raise FitError(f'there is no sampling method "{method}"; {among(method, POSTERIORS)}')
        from bayesmlm.bayes.fit import BayesFit
        from bayesmlm.bayes.sample import sample_posterior
        from bayesmlm.start import find_start

        began = time.perf_counter()
        start, note = find_start(self.design)
        found = time.perf_counter()
        if method != "nuts":
            from bayesmlm.bayes.marginal.fit import MarginalFit
            from bayesmlm.bayes.marginal.ladder import sample_marginal

            in_all = check_count("draws", draws) * check_count("chains", chains)
            outcome = sample_marginal(self.design, start, in_all, seed, progress=progress)
            if outcome.tree is not None:
                outcome.tree.attrs["sampling_seconds"] += found - began
                outcome.tree.attrs.update(method=method, note=note)
                return MarginalFit(self, outcome.tree)
            if method == "marginal":
                raise FitError(f'{outcome.sentence}: sample(method="nuts") or sample(method="auto")')
            note = f"{note} {outcome.sentence}: it was sampled by NUTS.".strip()
        tree = sample_posterior(
            self.design, start, draws, tune, chains, seed, progress, centered=centered, checkpoint=checkpoint
        )
        tree.attrs["compile_seconds"] += found - began
        tree.attrs["note"] = f"{note} {tree.attrs.get('note', '')}".strip()
        return BayesFit(self, tree)

    def read_draws(self, path: str | PathLike[str]) -> BayesFit:
        """The posterior of which draws are in a file: the checkpoint of a run that was stopped, or a run's results.

        Parameters
        ----------
        path : path
            As ``sample`` named it, or ``posterior/NAME.nc`` of a run directory.

        Raises
        ------
        DataError
            For a file that is not there, or that holds draws of another model.
        """
        from bayesmlm.bayes.checkpoint import read_draws
        from bayesmlm.bayes.marginal.fit import fit_of_draws

        return fit_of_draws(self, read_draws(self.design, path))

    # the posterior's meaning ----------------------------------------------------------------------------------

    def to_pymc(self, centered: bool | Sequence[bool] = False) -> pm.Model:
        """The model as a readable ``pm.Model`` with the design's labels as coords.

        Parameters
        ----------
        centered : bool or sequence of bool
            Sample the group effects themselves instead of standardised ones: of all random-effect terms, or of each.
        """
        from bayesmlm.bayes.compile import compile_model

        return compile_model(self.design, centered)

    def to_bambi(self) -> bambi.Model:
        """The equivalent Bambi model, with the same priors.

        Bambi reads the formula and the data on its own; what it read is held against the design, and the model is
        refused where it would be another.

        Returns
        -------
        bambi.Model
            Built, so that ``.fit()`` samples it and ``.backend.model`` is its ``pm.Model``.

        Raises
        ------
        FitError
            For what Bambi cannot express: correlations between group effects, weights of 0/1 responses or of a Gaussian
            model, weights and offsets that are no columns of the data, functions its formulas do not know.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> m = bm.Model("use ~ age + I(age^2) + (1 | district)", bm.load_dataset("contraception"))
        >>> str(m.to_bambi().formula.main)
        "use['Y'] ~ age + I(age**2) + (1 | district)"
        """
        from bayesmlm.bayes.bambi import bambi_model

        return bambi_model(self.design, self.data, self.spec.weights, self.spec.freq)

    def prior_predictive(self, draws: int = 500, seed: int = 1) -> xr.DataTree:
        """Draw parameters from the priors, and for each draw a response of every row.

        What the priors say together shows in the responses they predict, not in their formulas;
        :func:`bayesmlm.plots.prior_predictive` draws it.

        Parameters
        ----------
        draws : int
        seed : int
            The same seed gives the same draws.

        Returns
        -------
        xarray.DataTree
            Groups ``prior`` (``beta`` on the user's scale, ``sd_…``, ``cor_…``, ``ranef_…``, ``sigma``),
            ``prior_predictive`` and ``observed_data``, under the names a posterior has.

        Raises
        ------
        PriorError
            For a flat prior, from which nothing can be drawn, naming what has one.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> m = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception"))
        >>> tree = m.prior_predictive(draws=200)
        >>> tree["prior"]["beta"].sizes, tree["prior_predictive"]["use"].sizes["row"]
        (Frozen({'chain': 1, 'draw': 200, 'term': 2}), 1934)
        """
        from bayesmlm.bayes.prior_predictive import prior_predictive

        return prior_predictive(self.design, draws, seed)

    def priors(self, reading: str = "nuts") -> pd.DataFrame:
        """Every prior on the user's scale: ``component, group, term, prior, origin``.

        Parameters
        ----------
        reading : {"nuts", "map"}
            Sampling and the posterior mode differ in the default of a group effect's standard deviation.

        Returns
        -------
        pandas.DataFrame
            ``origin`` is ``default``, or the key under which the prior was given: that of a term, or of its class
            (``fixed``, ``sd``, ``sd.district``).  The prior of ``Intercept`` is at the means of the predictors.  The
            rules behind the defaults are in :mod:`bayesmlm.prior_rules`.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> m = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception"), priors={"sd": "gamma(2, 2)"})
        >>> m.priors()[["term", "prior", "origin"]].to_numpy().tolist()  # doctest: +NORMALIZE_WHITESPACE
        [['Intercept', 'student_t(3, 0, 2.5)', 'default'], ['urban[Y]', 'normal(0, 5.50619)', 'default'],
         ['Intercept', 'gamma(2, 2)', 'sd']]
        """
        import pandas as pd

        if reading not in ("nuts", "map"):
            raise FitError(f'there are no priors for "{reading}"; {among(reading, ("nuts", "map"))}')
        design = self.design
        groups = [(group.name, group.terms) for group in design.groups]
        return pd.DataFrame(prior_rows(design.priors, design.terms, groups, mode=reading == "map"))
