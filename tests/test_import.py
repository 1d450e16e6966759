"""Nothing heavy is imported before it is needed; what is loaded is counted, not timed."""

import json
import subprocess
import sys

import pytest

HEAVY = {
    "pandas", "formulaic", "pymc", "pytensor", "arviz", "numba", "matplotlib", "statsmodels", "scipy", "nutpie",
    "narwhals", "xarray",
}  # fmt: skip
POSTERIOR = {"pymc", "pytensor", "arviz", "nutpie", "matplotlib", "xarray", "statsmodels"}


def loaded_by(code):
    """Top-level names of the modules a fresh interpreter has loaded after running some code."""
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import bayesmlm",
        "import bayesmlm; dir(bayesmlm); bayesmlm.__version__",
        "import bayesmlm; bayesmlm.Spec('y ~ x + (1 | g)'); bayesmlm.parse_prior('normal(0, 1)')",
    ],
)
def test_import_loads_nothing_heavy(code):
    assert loaded_by(code) & HEAVY == set()


def test_fitting_by_likelihood_does_not_load_the_posterior():
    code = (
        "import bayesmlm as bm\n"
        "fit = bm.Model('use ~ age + (1 | district)', bm.load_dataset('contraception')).fit_ml()\n"
        "fit.table(); fit.predict(); fit.notes"
    )
    assert loaded_by(code) & POSTERIOR == set()


def test_building_a_design_does_not_load_the_engines():
    code = "import bayesmlm as bm\nbm.Model('use ~ age + (1 | district)', bm.load_dataset('contraception'))"
    assert loaded_by(code) & (POSTERIOR | {"numba"}) == set()
