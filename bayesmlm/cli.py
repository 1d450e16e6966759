"""The command line.  Bad input is one sentence on standard error and exit code 2."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from bayesmlm.errors import BayesmlmError, DataError, SpecError, among

__all__ = ["app", "main"]

app = typer.Typer(
    help="Multilevel logistic models: one spec, read as likelihood, as posterior and for the population.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def run(
    specs: Annotated[Path, typer.Argument(help="A spec file, such as models/contraception.toml.")],
    only: Annotated[list[str] | None, typer.Option(help="Fit this model only (may be repeated).")] = None,
    out: Annotated[Path | None, typer.Option(help="Run directory; runs/NAME by default.")] = None,
    methods: Annotated[
        str, typer.Option(help="Readings, such as ml,auto,gee (ml, map, nuts, auto, marginal, gee).")
    ] = "",
    seed: Annotated[int | None, typer.Option(help="Seed of the sampler, for the file's own.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Redo only what is missing.")] = False,
) -> None:
    """Fit every model of a spec file; print the tables, write the run directory with its report."""
    from bayesmlm.run import run_specs

    chosen = [method.strip() for method in methods.split(",") if method.strip()]
    try:
        run_specs(specs, out, only or (), chosen, seed, resume)
    except KeyboardInterrupt:
        # Caught here: typer would end with "Aborted." and say nothing of what is kept.
        print("interrupted: what was finished is kept; go on with --resume", file=sys.stderr)
        raise typer.Exit(130) from None


@app.command()
def fit(
    formula: Annotated[str, typer.Argument(help='An lme4 formula, such as "use ~ age + (1 | district)".')],
    data: Annotated[Path, typer.Argument(help="A csv or parquet file.")],
    method: Annotated[str, typer.Option(help="ml, map, nuts, auto, marginal or gee.")] = "ml",
    family: Annotated[str, typer.Option(help="bernoulli, binomial, poisson or gaussian.")] = "bernoulli",
    link: Annotated[str | None, typer.Option(help="logit, probit or cloglog; log for counts.")] = None,
    factor: Annotated[list[str] | None, typer.Option(help="Read this column as a factor (may be repeated).")] = None,
    weights: Annotated[str | None, typer.Option(help="Column of prior weights.")] = None,
    offset: Annotated[str | None, typer.Option(help="Column of a known part of the linear predictor.")] = None,
    n_agq: Annotated[int, typer.Option(help="Quadrature points; 1 is the Laplace approximation.")] = 1,
    reml: Annotated[bool, typer.Option("--reml", help="Restricted maximum likelihood (gaussian).")] = False,
    information: Annotated[str, typer.Option(help="observed or expected (probit, cloglog).")] = "observed",
    draws: Annotated[int, typer.Option(help="Draws per chain (nuts, auto, marginal).")] = 1000,
    chains: Annotated[int, typer.Option(help="Chains (nuts, auto, marginal).")] = 4,
    seed: Annotated[int, typer.Option(help="Seed (nuts, auto, marginal).")] = 1,
    groups: Annotated[str | None, typer.Option(help="Column of the clusters (gee).")] = None,
    corr: Annotated[
        str | None, typer.Option(help="independence, exchangeable, ar1 or unstructured (gee; exchangeable).")
    ] = None,
    time: Annotated[str | None, typer.Option(help="Column that says which visit a row is (gee).")] = None,
    scale: Annotated[float | None, typer.Option(help="Fix the scale (gee).")] = None,
    se: Annotated[str | None, typer.Option(help="robust, naive, bias_corrected, … (gee; robust).")] = None,
    flavour: Annotated[str | None, typer.Option(help="yan_fine, geepack or gee (gee; yan_fine).")] = None,
    style: Annotated[str, typer.Option(help="full or concise.")] = "full",
) -> None:
    """Fit one model to a file and print its summary."""
    from bayesmlm.model import Model
    from bayesmlm.settings import Equations, check_methods
    from bayesmlm.sources import read_table

    check_methods((method,))
    asked = {"groups": groups, "corr": corr, "time": time, "scale": scale, "se": se, "flavour": flavour}
    given: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    if given and method != "gee":
        raise SpecError(f"--{next(iter(given))} is for --method gee, not {method}")
    for option, value, default in (("--n-agq", n_agq, 1), ("--information", information, "observed")):
        if value != default and method not in ("ml", "map"):
            raise SpecError(f"{option} is for --method ml and map: leave it out for {method}")
    equations = Equations(**given)
    frame = read_table(data)
    for name in factor or []:
        if name not in frame.columns:
            raise DataError(f'--factor names a column "{name}" the data lack; {among(name, frame.columns)}')
        frame[name] = frame[name].astype("category")
    model = Model(formula, frame, family, link, weights=weights, offset=offset)
    if reml and method != "ml":
        raise SpecError(f"--reml is a way of maximum likelihood: leave it out, or fit with --method ml, not {method}")
    fitted: Any
    if method == "ml":
        fitted = model.fit_ml(n_agq, reml, information)
    elif method == "map":
        fitted = model.fit_map(n_agq, information)
    elif method == "gee":
        fitted = model.fit_gee(**asdict(equations))
    else:
        fitted = _sampled(model, method, draws, chains, seed)
    print(fitted.summary(style))


def _sampled(model, method: str, draws: int, chains: int, seed: int):  # type: ignore[no-untyped-def]
    from rich.console import Console

    from bayesmlm.screen import Display

    with Display(Console(stderr=True), 1) as display, display.step("sampling") as progress:
        return model.sample(draws, chains=chains, seed=seed, method=method, progress=progress)


@app.command()
def compare(
    folder: Annotated[Path, typer.Argument(help="A run directory.")],
) -> None:
    """Print the comparisons of a run: the likelihood ladder and leave-one-out prediction."""
    import pandas as pd
    from rich.console import Console

    from bayesmlm.rundir import readable
    from bayesmlm.screen import ladder_table, loo_table

    console, found = Console(), False
    for name, shown in (("ladder", ladder_table), ("loo", loo_table)):
        file = folder / "tables" / f"{name}.csv"
        if file.is_file():
            found = True
            with readable(file):
                console.print(shown(pd.read_csv(file, dtype={"model": "str"})))
    if not found:
        raise DataError(f"{folder} holds no comparisons; make them with: bayesmlm run SPECS.toml --out {folder}")


@app.command()
def datasets() -> None:
    """List the datasets there are."""
    from bayesmlm.datasets import CATALOGUE

    for entry in CATALOGUE.values():
        print(f"{entry.name:<15} {entry.rows:>6,} rows  {entry.title}{'' if entry.embedded else ' (not embedded)'}")


def main() -> None:
    """Run the command line; the entry point ``bayesmlm``."""
    try:
        app()
    except BayesmlmError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
