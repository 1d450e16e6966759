"""bayesmlm: a multilevel logistic model written once and read three ways.

Nothing heavy is imported here: each name loads its module when it is first used (PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Model": "model",
    "Spec": "spec",
    "load_specs": "spec",
    "dump_specs": "spec",
    "Prior": "priors",
    "parse_prior": "priors",
    "Fit": "fit",
    "load_dataset": "datasets",
    "list_datasets": "datasets",
    "anova": "ladder",
    "bayes_factor": "evidence",
    "calibrate": "calibration.harness",
    "compare": "ranking",
    "drop1": "deletion",
    "export": "exports",
    "kfold": "cross_validation.folds",
    "leave_one_group_out": "cross_validation.groups",
    "loo": "cross_validation.rows",
    "model_table": "model_columns",
    "sample_many": "bayes.marginal.many",
    "side_by_side": "comparison",
    "under_other_priors": "bayes.marginal.reweighting",
    "why_differ": "differences",
    "BayesmlmError": "errors",
    "ComparisonError": "errors",
    "DataError": "errors",
    "FitError": "errors",
    "FormulaError": "errors",
    "NoMaximumError": "errors",
    "PriorError": "errors",
    "SpecError": "errors",
}

__all__ = [*_HOMES, "__version__"]


_ROOMS = ("checks", "effects", "plots")
"""Packages whose functions are called by the name of the package: ``bm.effects.predictions(...)``."""


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"bayesmlm.{name}")
    if name in _HOMES:
        return getattr(import_module(f"bayesmlm.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'bayesmlm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_ROOMS])


if TYPE_CHECKING:
    from bayesmlm.bayes.marginal.many import sample_many
    from bayesmlm.bayes.marginal.reweighting import under_other_priors
    from bayesmlm.calibration import calibrate
    from bayesmlm.comparison import side_by_side
    from bayesmlm.cross_validation import kfold, leave_one_group_out, loo
    from bayesmlm.datasets import list_datasets, load_dataset
    from bayesmlm.deletion import drop1
    from bayesmlm.differences import why_differ
    from bayesmlm.errors import (
        BayesmlmError,
        ComparisonError,
        DataError,
        FitError,
        FormulaError,
        NoMaximumError,
        PriorError,
        SpecError,
    )
    from bayesmlm.evidence import bayes_factor
    from bayesmlm.exports import export
    from bayesmlm.fit import Fit
    from bayesmlm.ladder import anova
    from bayesmlm.model import Model
    from bayesmlm.model_columns import model_table
    from bayesmlm.priors import Prior, parse_prior
    from bayesmlm.ranking import compare
    from bayesmlm.spec import Spec, dump_specs, load_specs
