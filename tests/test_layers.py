"""Imports run strictly downward through the house, and no module bears the name of a public function."""

import ast
from pathlib import Path

import pytest

import bayesmlm

ROOT = Path(bayesmlm.__file__).parent

LEVELS = [
    {"errors"},
    {
        "arguments",
        "families",
        "priors",
        "expressions",
        "bars",
        "frames",
        "datasets",
        "parallel",
        "settings",
        "sheets",
        "uniformity",
    },
    {"spec", "response", "model_matrix", "prior_rules", "replicates", "scaling"},
    {"grouping", "new_data", "observations", "sources"},
    {"design", "compress"},
    {"tables", "estimands", "laplace", "partitions", "ratios"},
    {"facts", "residuals", "hypotheses", "likelihood_ratio", "prediction", "simulation", "standardising"},
    {"fit", "summary", "prose"},
    {"ml", "bayes", "gee", "comparable"},
    {"start", "cross_validation"},
    {"model"},
    {
        "effects",
        "ladder",
        "ranking",
        "evidence",
        "deletion",
        "checks",
        "calibration",
        "differences",
        "rundir",
        "screen",
    },
    {"comparison", "readings", "model_columns", "exports"},
    {"plots"},
    {"report", "run"},
    {"cli"},
]
"""The rooms of each floor; a module imports from floors below its own only."""

LEVEL = {unit: floor for floor, units in enumerate(LEVELS) for unit in units}

SAME_LEVEL = {
    ("bars", "expressions"): "a formula's calls are expressions",
    ("frames", "expressions"): "derived columns are expressions",
    ("fit", "summary"): "a fit has the verbs that tell it",
    ("summary", "prose"): "the verbs beside summary() are report(), which hands itself to the sentences, lazily",
    ("run", "report"): "a run ends in its report",
}
"""Imports within one floor that are allowed, each with its reason."""

ENGINES = {"ml", "bayes", "gee"}


def units():
    """Name of every module or package directly in the house."""
    return {path.stem for path in ROOT.glob("*.py") if path.stem != "__init__"} | {
        path.parent.name for path in ROOT.glob("*/__init__.py")
    }


def modules():
    """Dotted name (without ``bayesmlm.``) and file of every module, the lazy front door aside."""
    out = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if parts:
            out[".".join(parts)] = path
    return out


def for_type_checkers(test):
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def statements(node):
    """Every statement below a node, those for type checkers only left out."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and for_type_checkers(child.test):
            for other in child.orelse:
                yield other
                yield from statements(other)
        else:
            yield child
            yield from statements(child)


def imports(source, module, package=False):
    """(line, unit) of everything of bayesmlm that a module imports, lazily or not."""
    found = []
    here = ["bayesmlm", *module.split(".")]
    for node in statements(ast.parse(source)):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = here[: len(here) - node.level + (1 if package else 0)]
                base = [*base, *(node.module.split(".") if node.module else [])]
            else:
                base = (node.module or "").split(".")
            # "from bayesmlm import x" may name a module or one of the public names.
            targets = [".".join(base)] if len(base) > 1 else [f"{base[0]}.{alias.name}" for alias in node.names]
        else:
            continue
        for target in targets:
            parts = target.split(".")
            if parts[0] == "bayesmlm" and target != "bayesmlm.__version__":
                unit = parts[1] if len(parts) > 1 else ""
                found.append((node.lineno, bayesmlm._HOMES.get(unit, unit)))
    return found


def violations(source, module, package=False):
    """What a module imports that it must not, in sentences."""
    own = module.split(".")[0]
    if own not in LEVEL:
        return [f"{module} has no floor"]
    out = []
    for line, unit in imports(source, module, package):
        if unit == own:
            continue
        if unit == "":
            out.append(f"{module}, line {line}: imports the whole of bayesmlm; import the module it needs")
        elif unit not in LEVEL:
            out.append(f"{module}, line {line}: imports {unit}, which has no floor")
        elif LEVEL[unit] >= LEVEL[own] and (own, unit) not in SAME_LEVEL:
            out.append(f"{module} (floor {LEVEL[own]}), line {line}: imports {unit} (floor {LEVEL[unit]})")
    return out


def test_every_module_has_a_floor():
    assert units() - LEVEL.keys() == set()


@pytest.mark.parametrize("module", modules())
def test_imports_run_downward(module):
    path = modules()[module]
    assert violations(path.read_text(encoding="utf-8"), module, package=path.stem == "__init__") == []


def test_engines_do_not_know_each_other():
    for module, path in modules().items():
        own = module.split(".")[0]
        if own in ENGINES:
            seen = {unit for _, unit in imports(path.read_text(encoding="utf-8"), module, path.stem == "__init__")}
            assert seen & (ENGINES - {own}) == set(), module


def test_allowed_exceptions_are_within_a_floor_and_in_use():
    for (own, unit), _ in SAME_LEVEL.items():
        assert LEVEL[own] == LEVEL[unit]
        inside = {module: path for module, path in modules().items() if module.split(".")[0] == own}
        used = {found for m, path in inside.items() for _, found in imports(path.read_text(encoding="utf-8"), m)}
        assert unit in used, f"{own} no longer imports {unit}: take the exception out"


def test_no_module_bears_the_name_of_a_public_function():
    stems = {name.split(".")[-1] for name in modules()}
    assert stems & set(bayesmlm._HOMES) == set()


def test_public_names_live_where_the_front_door_says():
    for name, home in bayesmlm._HOMES.items():
        assert getattr(bayesmlm, name).__module__ in (f"bayesmlm.{home}", "bayesmlm")
        assert name in dir(bayesmlm)


def test_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'modle'"):
        bayesmlm.modle  # noqa: B018


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("spec", "from bayesmlm.model import Model"),
        ("spec", "import bayesmlm.model"),
        ("spec", "from bayesmlm import model"),
        ("spec", "from bayesmlm import Model"),
        ("spec", "from .model import Model"),
        ("spec", "from . import model"),
        ("spec", "def f():\n    from bayesmlm.model import Model"),
        ("spec", "if TYPE_CHECKING:\n    pass\nelse:\n    from bayesmlm.model import Model"),
        ("ml.engine", "from ..bayes import fit"),
        ("ml.engine", "from bayesmlm.bayes.fit import BayesFit"),
        ("priors", "from bayesmlm.families import Family"),
        ("expressions", "from bayesmlm.bars import Bar"),
        ("design", "from bayesmlm.elsewhere import thing"),
        ("design", "import bayesmlm"),
    ],
)
def test_checker_finds_a_planted_import(module, source):
    assert len(violations(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("model", "from bayesmlm.spec import Spec"),
        ("model", "def f():\n    from bayesmlm.ml.engine import solve_ml"),
        ("spec", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from bayesmlm.model import Model"),
        ("spec", "import typing\nif typing.TYPE_CHECKING:\n    from bayesmlm.model import Model"),
        ("ml.engine", "from .optimise import maximise"),
        ("ml.engine", "from bayesmlm.ml.optimise import maximise"),
        ("bars", "from bayesmlm.expressions import canonical"),
        ("cli", "from bayesmlm import __version__"),
        ("spec", "import numpy as np\nfrom collections.abc import Mapping"),
    ],
)
def test_checker_lets_a_proper_import_pass(module, source):
    assert violations(source, module) == []
