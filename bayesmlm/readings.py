"""The readings of one model of a run: each made and kept, or read back where it was kept."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from bayesmlm.errors import BayesmlmError
from bayesmlm.fit import Fit
from bayesmlm.model import Model
from bayesmlm.rundir import RunDirectory, fingerprint, readable
from bayesmlm.settings import METHODS, POSTERIORS
from bayesmlm.spec import Spec

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["WORDS", "Outcome", "is_kept", "make", "methods_of", "named"]

WORDS = {
    "ml": "maximum likelihood",
    "map": "posterior mode",
    "nuts": "NUTS",
    "auto": "posterior",
    "marginal": "marginal posterior",
    "gee": "GEE",
}
"""What each reading is called while it is made."""


@dataclass(slots=True)
class Outcome:
    """What a run has of one model.

    Attributes
    ----------
    spec : Spec
    model : Model
    readings : dict of str to Fit
        By method.
    """

    spec: Spec
    model: Model
    readings: dict[str, Any] = field(default_factory=dict)

    @property
    def fits(self) -> list[Fit]:
        """The readings there are, in the order in which they are shown."""
        return [self.readings[method] for method in METHODS if method in self.readings]

    @property
    def sampled_by(self) -> str:
        """The way to the posterior that was taken; empty without one."""
        return next((method for method in POSTERIORS if method in self.readings), "")

    @property
    def posterior(self) -> Any:
        """The posterior, or None."""
        return self.readings.get(self.sampled_by)

    @property
    def notes(self) -> list[str]:
        """What there is to say, each sentence once; the sampler's diagnostics aside."""
        said = [note for fit in self.fits if fit.reading != "posterior" for note in fit.notes]
        own = self.posterior.tree.attrs.get("note", "") if self.posterior is not None else ""
        return [note for note in dict.fromkeys([*self.model.design.notes, *said, own]) if note]


@contextmanager
def named(name: str) -> Iterator[None]:
    """Let what is refused say of which model.

    Examples
    --------
    >>> with named("m_01"):
    ...     raise BayesmlmError("the response is constant")
    Traceback (most recent call last):
    bayesmlm.errors.BayesmlmError: m_01: the response is constant
    """
    try:
        yield
    except BayesmlmError as error:
        error.args = (f"{name}: {error}", *error.args[1:])
        raise


def methods_of(spec: Spec, model: Model) -> list[str]:
    """The readings to make: a model without groups is sampled only where nothing else is asked for."""
    sampled = model.design.groups or set(spec.methods) <= set(POSTERIORS)
    return [method for method in METHODS if method in spec.methods and (method not in POSTERIORS or sampled)]


def _digest(outcome: Outcome, method: str) -> str:
    return fingerprint(outcome.spec, outcome.model.design, method, outcome.model.data)


def is_kept(outcome: Outcome, method: str, run: RunDirectory) -> bool:
    """Whether a reading is in the directory, and still that of this model, data and settings."""
    return run.has(outcome.spec.name, method, _digest(outcome, method))


def make(outcome: Outcome, method: str, run: RunDirectory, keep: bool, progress: Any = None) -> None:
    """Make a reading and keep it.

    Parameters
    ----------
    outcome : Outcome
        Gets the reading.
    method : str
    run : RunDirectory
    keep : bool
        Read it back where it is kept.
    progress : callable, optional
        As :meth:`bayesmlm.model.Model.sample` has it.

    Raises
    ------
    BayesmlmError
        For what cannot be fitted, naming the model, and a file that cannot be read.
    """
    name, file = outcome.spec.name, run.result(outcome.spec.name, method)
    if keep and is_kept(outcome, method, run):
        with readable(file):
            outcome.readings[method] = _restored(outcome.model, method, file, run)
        return
    run.forget(name, method)
    began = time.perf_counter()
    with named(name):
        fit = _fitted(outcome, method, file, progress)
    facts = {"seconds": round(time.perf_counter() - began, 4), **_keep(fit, outcome, method, run)}
    outcome.readings[method] = fit
    run.write_table(f"{name}_{method}", fit.table(ranef=True))
    run.done(name, method, _digest(outcome, method), facts)


def _fitted(outcome: Outcome, method: str, file: Path, progress: Any) -> Any:
    spec, model = outcome.spec, outcome.model
    if method == "ml":
        return model.fit_ml(**asdict(spec.likelihood))
    if method == "map":
        return model.fit_map(spec.likelihood.n_agq, spec.likelihood.information)
    if method == "gee":
        return model.fit_gee(**asdict(spec.gee))
    unfinished = file.with_suffix(".unfinished.nc")
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    fit = model.sample(**asdict(spec.sampling), method=method, progress=progress, checkpoint=unfinished)
    return type(fit)(model, fit.to_arviz())


def _keep(fit: Any, outcome: Outcome, method: str, run: RunDirectory) -> dict[str, Any]:
    """Write a reading to its file, and say for the record how it was made."""
    from bayesmlm.gee.store import gee_to_json
    from bayesmlm.ml.store import solution_to_json

    file = run.result(outcome.spec.name, method)
    if method in POSTERIORS:
        run.write_posterior(outcome.spec.name, fit.tree)
        sampling, attrs = outcome.spec.sampling, fit.tree.attrs
        return {
            "seed": sampling.seed, "draws": sampling.draws, "chains": sampling.chains, "tune": int(attrs["tune"]),
            "sampler": str(attrs["sampler"]), "verdict": fit.diagnostics().verdict,
        }  # fmt: skip
    text = gee_to_json(fit.options, fit.solution) if method == "gee" else solution_to_json(fit.solution)
    run.write_text(str(file.relative_to(run.path)), text)
    return {"converged": fit.converged}


def _restored(model: Model, method: str, file: Path, run: RunDirectory) -> Any:
    from bayesmlm.bayes.marginal.fit import fit_of_draws
    from bayesmlm.gee.fit import GEEFit
    from bayesmlm.gee.store import gee_from_json
    from bayesmlm.ml.fit import MAPFit, MLFit
    from bayesmlm.ml.store import solution_from_json

    if method in POSTERIORS:
        return fit_of_draws(model, run.read_posterior(model.name))
    text = file.read_text(encoding="utf-8")
    if method == "gee":
        return GEEFit(model, *gee_from_json(text))
    return (MLFit if method == "ml" else MAPFit)(model, solution_from_json(text))
