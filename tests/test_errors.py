"""Messages."""

import pickle

import pytest

import bayesmlm
from bayesmlm import errors
from bayesmlm.errors import BayesmlmError, NoMaximumError, among


@pytest.mark.parametrize("name", [name for name in errors.__all__ if name != "among"])
def test_every_error_is_of_one_family_and_public(name):
    assert issubclass(getattr(errors, name), BayesmlmError)
    assert issubclass(getattr(errors, name), ValueError)
    assert getattr(bayesmlm, name) is getattr(errors, name)


def test_what_has_no_maximum_says_so_in_other_processes_too():
    error = NoMaximumError("x separates y; leave it out", "x separates y", ["x"])
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.reason, again.terms) == ("x separates y; leave it out", "x separates y", ("x",))


def test_among_suggests_the_closest():
    assert among("aeg", ["use", "age"]) == 'did you mean "age"? (there are: use, age)'
    assert among("zzz", ["use", "age"]) == "there are: use, age"
    assert among("x", []) == "there are: "


def test_among_suggests_across_case():
    assert 'did you mean "Age"' in among("age", ["use", "Age"])
    assert 'did you mean "g"' in among("G", ["use", "g"])


def test_among_is_short_for_many():
    text = among("zzz", [f"column_{i}" for i in range(200)])
    assert text.endswith("…")
    assert text.count(",") == 30
