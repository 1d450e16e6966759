"""What a fit without likelihood and without group effects cannot answer, each with the name of what can."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from bayesmlm.errors import FitError
from bayesmlm.facts.unmaximised import Unmaximised
from bayesmlm.fit import Fit
from bayesmlm.simulation import Parameters

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["WithoutLikelihood"]


class WithoutLikelihood(Unmaximised, Fit):
    """The verbs that need a distribution or group effects, refused."""

    def _parameters(self, seed: int) -> Iterable[Parameters]:
        raise FitError(
            "a GEE says how means and correlations of responses are, not their distribution: nothing can be drawn from "
            "it; simulate from fit_ml() or sample()"
        )

    def _no_maximum(self, asked: str) -> FitError:
        return FitError(f"a GEE has no likelihood, and so no {asked}; use fit.qic(), or fit.hypothesis() for a test")

    @property
    def null_deviance(self) -> float:
        """Not a property of a GEE: raises, naming what to use."""
        raise self._no_maximum("null deviance")

    def _no_groups(self, asked: str) -> FitError:
        return FitError(f"a GEE has no group effects, and so no {asked}; fit by fit_ml(), fit_map() or sample()")

    def ranef(self) -> pd.DataFrame:
        """Not a property of a GEE: raises, naming what to use."""
        raise self._no_groups("effects of groups")

    def varcorr(self) -> pd.DataFrame:
        """Not a property of a GEE: raises, naming what to use."""
        raise self._no_groups("variances between groups")

    def icc(self, *args: Any, **kwargs: Any) -> Any:
        """Not a property of a GEE: raises, naming what to use."""
        raise self._no_groups("intraclass correlation on the link scale")

    def mor(self, *args: Any, **kwargs: Any) -> Any:
        """Not a property of a GEE: raises, naming what to use."""
        raise self._no_groups("median odds ratio")

    def r2(self, *args: Any, **kwargs: Any) -> Any:
        """Not a property of a GEE: raises, naming what to use."""
        raise self._no_groups("R² of fixed and group effects")

    def dispersion(self, *args: Any, **kwargs: Any) -> Any:
        """Not a property of a GEE: raises, naming what to use."""
        raise FitError('the dispersion of a GEE is an estimate of its own: the row "scale" of fit.table()')
