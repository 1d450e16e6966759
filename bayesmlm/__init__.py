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
    "compare": "ranking",
    "drop1": "deletion",
    "side_by_side": "comparison",
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


_ROOMS = ("effects",)
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
    from bayesmlm.comparison import side_by_side
    from bayesmlm.datasets import list_datasets, load_dataset
    from bayesmlm.deletion import drop1
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
    from bayesmlm.fit import Fit
    from bayesmlm.ladder import anova
    from bayesmlm.model import Model
    from bayesmlm.priors import Prior, parse_prior
    from bayesmlm.ranking import compare
    from bayesmlm.spec import Spec, dump_specs, load_specs
