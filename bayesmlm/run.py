"""``bayesmlm run``: every model of a spec file, every reading, one run directory; resumable."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayesmlm.errors import ComparisonError, SpecError, among
from bayesmlm.model import Model
from bayesmlm.readings import WORDS, Outcome, is_kept, make, methods_of, named
from bayesmlm.rundir import RunDirectory, check_file_names, readable
from bayesmlm.screen import Display, ladder_table, loo_table, rich_table, side_by_side_cells
from bayesmlm.settings import POSTERIORS, check_methods
from bayesmlm.sources import read_source
from bayesmlm.spec import Spec, dump_specs, load_specs, title_of

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

__all__ = ["run_specs"]


def _versions() -> dict[str, str]:
    import platform
    from importlib.metadata import version

    libraries = ("bayesmlm", "numpy", "scipy", "pandas", "formulaic", "numba", "pymc", "nutpie", "arviz")
    return {"python": platform.python_version(), **{name: version(name) for name in libraries}}


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
    population = outcome.readings.get("gee")
    # What speaks against it is among the notes.
    if population is not None and population.diagnostics().ok:
        display.show(f"GEE: {population.diagnostics().verdict}")
    display.show("")
    return table


def _ladder(outcomes: Sequence[Outcome], run: RunDirectory, display: Display) -> tuple[Any, list[str]]:
    from bayesmlm.comparison import anova

    fits = [outcome.readings["ml"] for outcome in outcomes if "ml" in outcome.readings]
    if not fits:
        return None, []
    try:
        table = anova(*fits)
    except ComparisonError as error:
        return None, _incomparable("likelihood ladder", run.file("tables", "ladder"), error, display)
    notes = list(table.attrs["notes"])
    run.write_table("ladder", table)
    display.show(ladder_table(table))
    for note in notes:
        display.show(note)
    display.show("")
    return table, notes


def _incomparable(what: str, file: Path, error: ComparisonError, display: Display) -> list[str]:
    """Say why there is a comparison less: models of one file may be of different rows or responses."""
    file.unlink(missing_ok=True)  # of models that could still be compared
    said = f"There is no {what}: {error}."
    display.show(said)
    display.show("")
    return [said]


def _loo(outcomes: Sequence[Outcome], run: RunDirectory, display: Display, resume: bool) -> tuple[Any, list[str]]:
    import pandas as pd

    from bayesmlm.comparison import compare

    sampled = [outcome for outcome in outcomes if outcome.posterior is not None]
    if not sampled:
        return None, []
    models = run.record["models"]
    digest = "+".join(models[outcome.spec.name][outcome.sampled_by]["fingerprint"] for outcome in sampled)
    stored = run.record.get("loo", {})
    with display.step("leave-one-out comparison"):
        if resume and stored.get("fingerprint") == digest and run.file("tables", "loo").is_file():
            with readable(run.file("tables", "loo")):
                table = pd.read_csv(run.file("tables", "loo"), dtype={"model": "str"})
            notes = list(stored["notes"])
        else:
            try:
                table = compare(*[outcome.posterior for outcome in sampled], by="loo")
            except ComparisonError as error:
                return None, _incomparable("leave-one-out comparison", run.file("tables", "loo"), error, display)
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
    from bayesmlm.report import Entry, render

    entries = [
        Entry(
            name=outcome.spec.name,
            note=outcome.spec.note,
            formula=outcome.model.design.formula.text,
            fits=outcome.fits,
            side_by_side=tables[outcome.spec.name],
            notes=outcome.notes,
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
        page = render(title, entries, *ladder, *loo, facts, lambda name: display.step(f"{name} · figures"))
        return run.write_text("report.html", page)


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
    check_file_names(specs)
    check_methods(tuple(methods))
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
    outcomes = [_bound(spec, data) for spec in specs.values()]
    wanted = [outcome for outcome in outcomes if not only or outcome.spec.name in only]
    # Of the others, those of which every reading is there.
    kept = [
        outcome
        for outcome in outcomes
        if outcome not in wanted
        and all(is_kept(outcome, method, run) for method in methods_of(outcome.spec, outcome.model))
    ]
    outcomes = [outcome for outcome in outcomes if outcome in wanted or outcome in kept]
    asked = [methods_of(outcome.spec, outcome.model) for outcome in outcomes]
    steps = sum(map(len, asked)) + any(method in POSTERIORS for methods in asked for method in methods)
    tables: dict[str, Any] = {}
    with Display(console, steps + len(outcomes) + 2) as display:
        with display.step("loading the kernels (compiled the first time ever, in some seconds; then cached)"):
            _warm_up()
        # Estimates take milliseconds: all of them first, so that an interrupted run has them.
        for outcome, methods in zip(outcomes, asked, strict=True):
            for method in methods:
                if method not in POSTERIORS:
                    _make(outcome, method, run, display, resume or outcome in kept)
        for outcome, methods in zip(outcomes, asked, strict=True):
            for method in methods:
                if method in POSTERIORS:
                    _make(outcome, method, run, display, resume or outcome in kept)
            tables[outcome.spec.name] = _show_model(outcome, display, run)
        ladder = _ladder(outcomes, run, display)
        loo = _loo(outcomes, run, display, keep)
        report = _report(title, outcomes, tables, ladder, loo, run, display, resume and not only)
    run.record["seconds"] = round(time.perf_counter() - began, 2)
    run.save()
    console.print(f"{len(outcomes)} models in {run.record['seconds']:.0f} s. Report: {report}")
    return run


def _bound(spec: Spec, data: Any) -> Outcome:
    with named(spec.name):
        return Outcome(spec, Model(replace(spec, data=None), data))


def _make(outcome: Outcome, method: str, run: RunDirectory, display: Display, keep: bool) -> None:
    with display.step(f"{outcome.spec.name} · {WORDS[method]}") as progress:
        make(outcome, method, run, keep, progress)


def _warm_up() -> None:
    from bayesmlm.laplace import agq

    agq.warm_up()
