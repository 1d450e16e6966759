"""Data and reference fits shared by the tests."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import settings

from bayesmlm.datasets import load_dataset
from bayesmlm.errors import BayesmlmError

# Examples are the same in every run; a failing one is printed with the code that reproduces it.
settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=100, print_blob=True)
settings.load_profile("fixed")


def refusal(function, *arguments):
    """What bayesmlm says when it refuses; None when it does not.  Any other error is an error."""
    try:
        function(*arguments)
    except BayesmlmError as error:
        return str(error)
    return None


@pytest.fixture(scope="session")
def contraception():
    return load_dataset("contraception")


@pytest.fixture(scope="session")
def sleepstudy():
    return load_dataset("sleepstudy")


@pytest.fixture(scope="session")
def datasets():
    return {name: load_dataset(name) for name in ("contraception", "exam", "cbpp")}


@pytest.fixture(scope="session")
def reference():
    """Fits of lme4 at tight tolerances; see ``reference/lme4.R``."""
    return json.loads((Path(__file__).parent / "reference" / "lme4.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def around():
    """What R says around an estimate; see ``reference/around.R``."""
    return json.loads((Path(__file__).parent / "reference" / "around.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def toy():
    """120 rows with every kind of column and every kind of response."""
    rng = np.random.default_rng(20)
    n = 120
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "z": rng.normal(1.0, 2.0, size=n),
            "f": rng.choice(["a", "b", "c"], n),
            "flag": rng.random(n) > 0.5,
            "g": rng.choice(["north", "south", "east", "west", "centre", "coast"], n),
            "h": rng.integers(0, 8, n),
            "n": rng.integers(2, 9, n),
            "w": rng.uniform(0.5, 2.0, n),
            "reps": rng.integers(1, 4, n),
            "o": 0.5 * rng.normal(size=n),
        }
    )
    effects = dict(zip(sorted(frame.g.unique()), 0.9 * rng.normal(size=6), strict=True))
    eta = 0.2 + 0.5 * frame.x - 0.4 * (frame.f == "b") + frame.g.map(effects) + 0.6 * rng.normal(size=8)[frame.h]
    p = 1.0 / (1.0 + np.exp(-eta))
    frame["y"] = rng.binomial(1, p)
    frame["answer"] = np.where(frame.y == 1, "yes", "no")
    frame["s"] = rng.binomial(frame.n, p)
    frame["count"] = rng.poisson(np.exp(0.5 * eta))
    return frame
