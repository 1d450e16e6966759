"""MarginalFit: a posterior that was drawn without chains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from bayesmlm.bayes.fit import BayesFit
from bayesmlm.bayes.marginal.certificate import is_weighted
from bayesmlm.errors import FitError

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["MarginalFit", "fit_of_draws", "improper_priors"]


@dataclass(frozen=True, slots=True, repr=False)
class MarginalFit(BayesFit):
    """A posterior of resampled importance draws; all of :class:`~bayesmlm.bayes.fit.BayesFit`, and the evidence.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> m = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception"))
    >>> fit = m.sample(method="marginal")
    >>> fit.table().rhat.isna().all(), round(fit.log_evidence)
    (np.True_, -1262)
    """

    engine: ClassVar[str] = "marginal"

    @property
    def log_evidence(self) -> float:
        """Logarithm of the marginal likelihood, all constants included.

        Raises
        ------
        FitError
            For improper priors, with which it has no scale.
        """
        flat = improper_priors(self)
        if flat:
            raise FitError(
                f"the marginal likelihood of {self.name} has no scale: the prior of {', '.join(flat)} is flat; "
                f"give it a proper one"
            )
        return float(self.tree.attrs["log_evidence"])

    @property
    def log_evidence_se(self) -> float:
        """Its Monte-Carlo standard error."""
        return float(self.tree.attrs["log_evidence_se"])

    def _again(self, model: Any) -> Self:
        attrs = self.tree.attrs
        chains = min(4, int(attrs["draws"]))
        fit: Self = model.sample(
            draws=-(-int(attrs["draws"]) // chains), chains=chains, seed=int(attrs["seed"]), method=attrs["method"]
        )
        return fit


def fit_of_draws(model: Any, tree: xr.DataTree) -> BayesFit:
    """The posterior of draws that were kept: a :class:`MarginalFit` where they have a certificate.

    Parameters
    ----------
    model : Model
    tree : xarray.DataTree
        As ``fit.tree`` or ``fit.to_arviz()`` was.
    """
    return (MarginalFit if is_weighted(tree) else BayesFit)(model, tree)


def improper_priors(fit: BayesFit) -> list[str]:
    """What has a flat prior."""
    design = fit.design
    flat = [term for term, prior in zip(design.terms, design.priors.fixed, strict=True) if prior.distribution == "flat"]
    for group, priors in zip(design.groups, design.priors.sd, strict=True):
        names = zip(group.terms, priors, strict=True)
        flat += [f"sd of {term} | {group.name}" for term, prior in names if prior.distribution == "flat"]
    if design.priors.sigma is not None and design.priors.sigma.distribution == "flat":
        flat.append("sigma")
    return flat
