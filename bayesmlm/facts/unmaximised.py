"""What only a maximised likelihood has, refused by readings without one."""

from __future__ import annotations

from bayesmlm.errors import FitError

__all__ = ["Unmaximised"]


class Unmaximised:
    """Log-likelihood, information criteria and deviance, each refused with the name of what to use."""

    def _no_maximum(self, asked: str) -> FitError:
        """The error that names what this reading has instead."""
        raise NotImplementedError

    @property
    def loglik(self) -> float:
        """Not a property of this reading: raises, naming what to use."""
        raise self._no_maximum("log-likelihood")

    @property
    def aic(self) -> float:
        """Not a property of this reading: raises, naming what to use."""
        raise self._no_maximum("AIC")

    @property
    def aicc(self) -> float:
        """Not a property of this reading: raises, naming what to use."""
        raise self._no_maximum("AICc")

    @property
    def bic(self) -> float:
        """Not a property of this reading: raises, naming what to use."""
        raise self._no_maximum("BIC")

    @property
    def deviance(self) -> float:
        """Not a property of this reading: raises, naming what to use."""
        raise self._no_maximum("deviance")
