"""``bayesmlm run``: every model of a spec file, every reading, one run directory; resumable."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayesmlm.errors import SpecError, among
from bayesmlm.fit import Fit
from bayesmlm.model import Model, read_source
from bayesmlm.rundir import RunDirectory, fingerprint
from bayesmlm.screen import Display, ladder_table, loo_table, rich_table, side_by_side_cells
from bayesmlm.spec import METHODS, Spec, dump_specs, load_specs, title_of

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

__all__ = ["Outcome", "run_specs"]


@dataclass(slots=True)
class Outcome:
    """What a run has of one model.

    Attributes
    ----------
    spec : Spec
    model : Model
    ml, mode, posterior : Fit or None
    """

    spec: Spec
    model: Model
    ml: Any = None
    mode: Any = None
    posterior: Any = None

    @property
    def fits(self) -> list[Fit]:
        """The readings there are."""
        return [fit for fit in (self.ml, self.mode, self.posterior) if fit is not None]

    @property
    def notes(self) -> list[str]:
        """What there is to say, each sentence once; the sampler's diagnostics aside."""
        said = [note for fit in (self.ml, self.mode) if fit is not None for note in fit.notes]
        own = self.posterior.tree.attrs.get("note", "") if self.posterior is not None else ""
        return [note for note in dict.fromkeys([*self.model.design.notes, *said, own]) if note]


def _methods_of(spec: Spec, model: Model) -> list[str]:
    """The readings to make: a model without groups is sampled only where nothing else is asked for."""
    sampled = model.design.groups or spec.methods == ("nuts",)
    return [method for method in spec.methods if method != "nuts" or sampled]


def _versions() -> dict[str, str]:
    import platform
    from importlib.metadata import version

    libraries = ("bayesmlm", "numpy", "scipy", "pandas", "formulaic", "numba", "pymc", "nutpie", "arviz")
    return {"python": platform.python_version(), **{name: version(name) for name in libraries}}


def _maximise(outcome: Outcome, method: str, run: RunDirectory, display: Display, resume: bool) -> Fit:
    """Fit by maximum likelihood (``ml``) or at the posterior mode (``map``), or read the result that is there."""
    from bayesmlm.ml.fit import MAPFit, MLFit
    from bayesmlm.ml.store import solution_from_json, solution_to_json

    name, model = outcome.spec.name, outcome.model
    kind, what, reading = (
        ("likelihood", "maximum likelihood", MLFit) if method == "ml" else ("mode", "posterior mode", MAPFit)
    )
    digest = fingerprint(outcome.spec, model.design, method, None)
    file = run.file(kind, name)
    with display.step(f"{name} · {what}"):
        if resume and run.has(kind, name, method, digest):
            return reading(model, solution_from_json(file.read_text(encoding="utf-8")))
        began = time.perf_counter()
        fit = model.fit_ml() if method == "ml" else model.fit_map()
        seconds = time.perf_counter() - began
        run.write_text(str(file.relative_to(run.path)), solution_to_json(fit.solution))
        run.write_table(f"{name}_{method}", fit.table(ranef=True))
        run.done(name, method, digest, {"seconds": round(seconds, 4), "converged": fit.converged})
    return fit


def _sample(outcome: Outcome, run: RunDirectory, display: Display, resume: bool) -> None:
    from bayesmlm.bayes.fit import BayesFit

    name, model, sampling = outcome.spec.name, outcome.model, outcome.spec.sampling
    digest = fingerprint(outcome.spec, model.design, "nuts", sampling)
    with display.step(f"{name} · NUTS") as progress:
        if resume and run.has("posterior", name, "nuts", digest):
            outcome.posterior = BayesFit(model, run.read_posterior(name))
            return
        began = time.perf_counter()
        unfinished = run.file("posterior", name).with_suffix(".unfinished.nc")
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        fit = model.sample(
            sampling.draws, sampling.tune, sampling.chains, sampling.seed, progress=progress, checkpoint=unfinished
        )
        tree = fit.to_arviz()
        outcome.posterior = BayesFit(model, tree)
        seconds = time.perf_counter() - began
        run.write_posterior(name, tree)
        run.write_table(f"{name}_nuts", outcome.posterior.table(ranef=True))
        diagnostics = outcome.posterior.diagnostics()
        run.done(
            name, "nuts", digest,
            {
                "seconds": round(seconds, 3), "seed": sampling.seed, "draws": sampling.draws, "chains": sampling.chains,
                "tune": int(tree.attrs["tune"]), "sampler": str(tree.attrs["sampler"]), "verdict": diagnostics.verdict,
            },
        )  # fmt: skip


def _show_model(outcome: Outcome, display: Display, run: RunDirectory) -> pd.DataFrame:
    from bayesmlm.comparison import side_by_side

    table = side_by_side(*outcome.fits)
    run.write_table(f"{outcome.spec.name}_side_by_side", table)
    title = f"{outcome.spec.name}  {outcome.model.design.formula.text}"
    display.show(rich_table(side_by_side_cells(table), title, {"difference / SD": "+.2f"}))
    for note in outcome.notes:
        display.once(note)
    if outcome.posterior is not None:
        display.show(outcome.posterior.diagnostics().verdict)
    display.show("")
    return table


def _ladder(outcomes: Sequence[Outcome], run: RunDirectory, display: Display) -> tuple[Any, list[str]]:
    from bayesmlm.comparison import anova

    fits = [outcome.ml for outcome in outcomes if outcome.ml is not None]
    if not fits:
        return None, []
    table = anova(*fits)
    notes = list(table.attrs["notes"])
    run.write_table("ladder", table)
    display.show(ladder_table(table))
    for note in notes:
        display.show(note)
    display.show("")
    return table, notes


def _loo(outcomes: Sequence[Outcome], run: RunDirectory, display: Display, resume: bool) -> tuple[Any, list[str]]:
    import pandas as pd

    from bayesmlm.comparison import compare

    sampled = [outcome for outcome in outcomes if outcome.posterior is not None]
    if not sampled:
        return None, []
    models = run.record["models"]
    digest = "+".join(models[outcome.spec.name]["nuts"]["fingerprint"] for outcome in sampled)
    stored = run.record.get("loo", {})
    with display.step("leave-one-out comparison"):
        if resume and stored.get("fingerprint") == digest and run.file("tables", "loo").is_file():
            table, notes = (
                pd.read_csv(run.file("tables", "loo"), dtype={"model": "str"}),
                list(stored["notes"]),
            )
        else:
            table = compare(*[outcome.posterior for outcome in sampled], by="loo")
            notes = list(table.attrs["notes"])
            run.write_table("loo", table)
            run.record["loo"] = {"fingerprint": digest, "notes": notes}
            run.save()
    display.show(loo_table(table))
    for note in notes:
        display.show(note)
    display.show("")
    return table, notes


def _report(
    title: str, outcomes: Sequence[Outcome], tables: dict[str, Any], ladder: tuple[Any, list[str]],
    loo: tuple[Any, list[str]], run: RunDirectory, display: Display, resume: bool,
) -> Path:  # fmt: skip
    from bayesmlm.report.html import Entry, render

    entries = [
        Entry(
            name=outcome.spec.name,
            note=outcome.spec.note,
            formula=outcome.model.design.formula.text,
            ml=outcome.ml,
            posterior=outcome.posterior,
            side_by_side=tables[outcome.spec.name],
            verdict=outcome.posterior.diagnostics().verdict if outcome.posterior is not None else "",
            notes=outcome.notes,
            mode=outcome.mode,
        )
        for outcome in outcomes
    ]
    facts = dict(run.record["versions"])
    for name, methods in run.record["models"].items():
        for method, entry in methods.items():
            seed = f", seed {entry['seed']}" if "seed" in entry else ""
            facts[f"{name} {method}"] = f"{entry['seconds']:.3g} s{seed}"
    parts = [title, *(f"{outcome.spec.name} {outcome.spec.note}" for outcome in outcomes)]
    parts += [entry["fingerprint"] for methods in run.record["models"].values() for entry in methods.values()]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    with display.step("report"):
        if resume and run.record.get("report") == digest and (run.path / "report.html").is_file():
            return run.path / "report.html"
        run.record["report"] = digest
        return run.write_text("report.html", render(title, entries, *ladder, *loo, facts))


def run_specs(
    path: str | Path,
    out: str | Path | None = None,
    only: Sequence[str] = (),
    methods: Sequence[str] = (),
    seed: int | None = None,
    resume: bool = False,
    console: Console | None = None,
) -> RunDirectory:
    """Fit every model of a spec file and write the run directory.

    Parameters
    ----------
    path : str or Path
        Spec file.
    out : str or Path, optional
        Run directory; ``runs/NAME`` after the spec file's name.
    only : sequence of str
        Models to fit; all without it.  Others whose results are there and still valid stay in the report.
    methods : sequence of str
        Readings, for the file's own.
    seed : int, optional
        For the file's own.
    resume : bool
        Redo only what is missing or was made from something else.
    console : rich.console.Console, optional

    Returns
    -------
    RunDirectory

    Raises
    ------
    BayesmlmError
        One sentence; what was finished stays.
    """
    from rich.console import Console

    began = time.perf_counter()
    path = Path(path)
    specs = load_specs(path)
    for name in only:
        if name not in specs:
            raise SpecError(f'{path} has no model "{name}"; {among(name, specs)}')
    for method in methods:
        if method not in METHODS:
            raise SpecError(f'there is no method "{method}"; {among(method, METHODS)}')
    if methods:
        specs = {name: replace(spec, methods=tuple(methods)) for name, spec in specs.items()}
    if seed is not None:
        specs = {name: replace(spec, sampling=replace(spec.sampling, seed=seed)) for name, spec in specs.items()}
    title = title_of(path)
    source = next(iter(specs.values())).data
    if source is None:
        raise SpecError(f'{path} names no data; add [data] with a "source"')

    console = console or Console()
    run = RunDirectory.open(Path(out) if out is not None else Path("runs") / path.stem)
    keep = resume or bool(only)
    run.record = {
        "title": title,
        "spec": path.name,
        "versions": _versions(),
        "models": run.record.get("models", {}) if keep else {},
        **{part: run.record[part] for part in ("loo", "report") if keep and part in run.record},
    }
    run.write_text("spec.toml", dump_specs(specs, title))
    run.save()

    data = read_source(source)
    outcomes = [Outcome(spec, Model(replace(spec, data=None), data)) for spec in specs.values()]
    wanted = [outcome for outcome in outcomes if not only or outcome.spec.name in only]
    kept = [outcome for outcome in outcomes if outcome not in wanted and _whole(outcome, run)]
    outcomes = [outcome for outcome in outcomes if outcome in wanted or outcome in kept]
    steps = sum(len(_methods_of(outcome.spec, outcome.model)) for outcome in outcomes)
    steps += 1 + any("nuts" in _methods_of(outcome.spec, outcome.model) for outcome in outcomes)
    tables: dict[str, Any] = {}
    with Display(console, steps + 1) as display:
        with display.step("loading the kernels (compiled the first time ever, in some seconds; then cached)"):
            _warm_up()
        # Likelihood fits take milliseconds: all of them first, so that an interrupted run has them.
        for outcome in outcomes:
            methods, keeping = _methods_of(outcome.spec, outcome.model), resume or outcome in kept
            if "ml" in methods:
                outcome.ml = _maximise(outcome, "ml", run, display, keeping)
            if "map" in methods:
                outcome.mode = _maximise(outcome, "map", run, display, keeping)
        for outcome in outcomes:
            if "nuts" in _methods_of(outcome.spec, outcome.model):
                _sample(outcome, run, display, resume or outcome in kept)
            tables[outcome.spec.name] = _show_model(outcome, display, run)
        ladder = _ladder(outcomes, run, display)
        loo = _loo(outcomes, run, display, keep)
        report = _report(title, outcomes, tables, ladder, loo, run, display, resume and not only)
    run.record["seconds"] = round(time.perf_counter() - began, 2)
    run.save()
    console.print(f"{len(outcomes)} models in {run.record['seconds']:.0f} s. Report: {report}")
    return run


def _whole(outcome: Outcome, run: RunDirectory) -> bool:
    """Whether every reading of a model is in the directory and still valid."""
    kinds = {"ml": ("likelihood", None), "map": ("mode", None), "nuts": ("posterior", outcome.spec.sampling)}
    return all(
        run.has(
            kinds[method][0], outcome.spec.name, method,
            fingerprint(outcome.spec, outcome.model.design, method, kinds[method][1]),
        )
        for method in _methods_of(outcome.spec, outcome.model)
    )  # fmt: skip


def _warm_up() -> None:
    from bayesmlm.laplace import agq

    agq.warm_up()
