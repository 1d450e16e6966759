"""Spec: a model written once, as a value; spec files are many of them in TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from bayesmlm.bars import Formula, parse_formula
from bayesmlm.errors import BayesmlmError, PriorError, SpecError, among
from bayesmlm.expressions import check_expression
from bayesmlm.families import Family, family_of
from bayesmlm.priors import parse_prior
from bayesmlm.settings import DEFAULT_METHODS, METHODS, Equations, Likelihood, Sampling, check_methods

__all__ = ["DataSource", "Equations", "Likelihood", "Sampling", "Spec", "dump_specs", "load_specs", "title_of"]


@dataclass(frozen=True, slots=True)
class DataSource:
    """Where the data come from, and what is done to them before any model sees them.

    Attributes
    ----------
    source : str
        Name of an embedded dataset, or a path to a csv or parquet file (relative to the spec file).
    levels : mapping of str to tuple of str
        Levels of a factor in order, the reference first.
    derive : mapping of str to (str or mapping)
        New columns: an expression, or ``{"where": …, "levels": [if false, if true]}``.
    """

    source: str
    levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    derive: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Spec:
    """A multilevel model as a value: it knows no data and nothing fitted.

    Attributes
    ----------
    formula : str
        An lme4 formula.
    family : str
    link : str or None
        None is the canonical link.
    priors : mapping
        Term (or ``fixed``, ``sd``, ``cor``, ``sigma``) to a prior, given as a value or in text and kept as a value;
        see :mod:`bayesmlm.prior_rules`.
    name, note : str
    weights, freq, offset : str or None
        Columns with prior weights, row frequencies and a known part of the linear predictor.
    methods : tuple of str
        What ``bayesmlm run`` does with it, and how:
    likelihood : Likelihood
        Of maximum likelihood and the posterior mode.
    sampling : Sampling
        Of the posterior.
    gee : Equations
        Of the population.
    data : DataSource or None

    Raises
    ------
    BayesmlmError
        On creation, when a part cannot be read.

    Examples
    --------
    >>> spec = Spec("use ~ age + (1 | district)", priors={"age": "normal(0, 1)"}, name="m")
    >>> spec.parsed.fixed, str(spec.resolved_family)
    ('age', 'bernoulli (logit)')
    """

    formula: str
    family: str = "bernoulli"
    link: str | None = None
    priors: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    note: str = ""
    weights: str | None = None
    freq: str | None = None
    offset: str | None = None
    methods: tuple[str, ...] = DEFAULT_METHODS
    likelihood: Likelihood = field(default_factory=Likelihood)
    sampling: Sampling = field(default_factory=Sampling)
    gee: Equations = field(default_factory=Equations)
    data: DataSource | None = None

    def __post_init__(self) -> None:
        parse_formula(self.formula)
        family_of(self.family, self.link)
        if not isinstance(self.priors, Mapping):
            raise PriorError(f'priors should be a table such as {{"age": "normal(0, 1)"}}, not {self.priors!r}')
        object.__setattr__(self, "priors", _read_priors(self.priors))
        check_methods(self.methods)

    @property
    def parsed(self) -> Formula:
        """The formula, taken apart."""
        return parse_formula(self.formula)

    @property
    def resolved_family(self) -> Family:
        """Family and link as values."""
        return family_of(self.family, self.link)

    @property
    def label(self) -> str:
        """The name, or the formula where there is none."""
        return self.name or self.formula

    def to_toml(self) -> str:
        """Write the spec as a spec file of one model; :meth:`from_toml` reads it back equal.

        Examples
        --------
        >>> spec = Spec("y ~ x + (1 | g)", name="m", priors={"sd": {"g": "exponential(1)"}})
        >>> Spec.from_toml(spec.to_toml()) == spec
        True
        """
        return dump_specs({self.name or "model": self})

    @classmethod
    def from_toml(cls, text: str) -> Spec:
        """Read a spec file of exactly one model."""
        specs = _specs_of(_parse(text, "the text"), Path())
        if len(specs) != 1:
            raise SpecError(f"one model is expected, {len(specs)} are there: {', '.join(specs)}")
        return next(iter(specs.values()))


def _read_priors(value: Any) -> Any:
    """The same table with every text read into a prior."""
    if isinstance(value, Mapping):
        return {key: _read_priors(item) for key, item in value.items()}
    return parse_prior(value)


# spec files ---------------------------------------------------------------------------------------------

_TOP = ("title", "data", "defaults", "models")
_DATA = ("source", "levels", "derive")
_LIKELIHOOD, _SAMPLING, _GEE = (
    tuple(field.name for field in fields(settings)) for settings in (Likelihood, Sampling, Equations)
)
_TEXT = ("formula", "family", "link", "note", "weights", "freq", "offset")
_MODEL = (*_TEXT, "priors", "methods", *_LIKELIHOOD, "sampling", "gee")


def _check_keys(table: Any, known: tuple[str, ...], where: str) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise SpecError(f"{where} should be a table, not {table!r}")
    for key in table:
        if key not in known:
            raise SpecError(f'{where} has an unknown key "{key}"; {among(key, known)}')
    return table


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{where} is not valid TOML: {error}") from None


def _check_kinds(table: dict[str, Any], where: str) -> None:
    """Refuse a value of the wrong kind, naming its key."""
    for key, value in table.items():
        if key in _TEXT and not isinstance(value, str):
            raise SpecError(f"{where}: {key} should be text, not {value!r}")
        if key in ("priors", "sampling", "gee") and not isinstance(value, dict):
            raise SpecError(f"{where}: {key} should be a table, not {value!r}")
        if key == "methods" and not (isinstance(value, str) or (isinstance(value, list) and value)):
            raise SpecError(f"{where}: methods should be a list such as {list(METHODS)}, not {value!r}")


def _data_source(table: Any, folder: Path) -> DataSource:
    _check_keys(table, _DATA, "[data]")
    if "source" not in table:
        raise SpecError('[data] needs a "source": an embedded dataset or a path to a csv or parquet file')
    source = str(table["source"])
    if Path(source).suffix and not Path(source).is_absolute():
        source = (folder / source).as_posix()
    levels = {}
    for part in ("levels", "derive"):
        if not isinstance(table.get(part, {}), dict):
            raise SpecError(f"[data] {part} should be a table, not {table[part]!r}")
    for name, values in table.get("levels", {}).items():
        if not isinstance(values, list) or not values:
            raise SpecError(f'[data] levels."{name}" should be a list of levels, the reference first')
        levels[name] = tuple(str(value) for value in values)
    derive = table.get("derive", {})
    for name, given in derive.items():
        where = f'[data] derive."{name}"'
        if isinstance(given, dict):
            _check_keys(given, ("where", "levels"), where)
            two = given.get("levels")
            if "where" not in given or not isinstance(two, list) or len(two) != 2:
                raise SpecError(f'{where} needs "where" (a condition) and "levels" (the two levels: if not, if so)')
        elif not isinstance(given, str):
            raise SpecError(f'{where} should be an expression, or a table with "where" and "levels", not {given!r}')
        try:
            check_expression(given if isinstance(given, str) else str(given["where"]))
        except BayesmlmError as error:
            raise SpecError(f"{where}: {error}") from None
    return DataSource(source, levels, derive)


def _specs_of(document: dict[str, Any], folder: Path) -> dict[str, Spec]:
    _check_keys(document, _TOP, "the spec file")
    models = document.get("models")
    if not isinstance(models or {}, dict):
        raise SpecError(f"models should be a table of models, not {models!r}")
    if not models:
        raise SpecError("the spec file has no models; add a table such as [models.m_01] with a formula")
    defaults = _check_keys(document.get("defaults", {}), _MODEL, "[defaults]")
    _check_kinds(defaults, "[defaults]")
    data = _data_source(document["data"], folder) if "data" in document else None
    specs: dict[str, Spec] = {}
    for name, own in models.items():
        where = f"[models.{name}]"
        table = {**defaults, **_check_keys(own, _MODEL, where)}
        _check_kinds(table, where)
        if "formula" not in table:
            raise SpecError(f"{where} has no formula")
        sampling, gee = (
            {
                key: value
                for at, part in (("[defaults]", defaults), (where, own))
                for key, value in _check_keys(part.get(settings, {}), known, f"{settings} of {at}").items()
            }
            for settings, known in (("sampling", _SAMPLING), ("gee", _GEE))
        )
        methods = table.pop("methods", list(DEFAULT_METHODS))
        try:
            specs[name] = Spec(
                name=name,
                methods=(methods,) if isinstance(methods, str) else tuple(methods),
                likelihood=Likelihood(**{key: table[key] for key in _LIKELIHOOD if key in table}),
                sampling=Sampling(**sampling),
                gee=Equations(**gee),
                data=data,
                **{key: table[key] for key in (*_TEXT, "priors") if key in table},
            )
        except BayesmlmError as error:
            raise SpecError(f"{where}: {error}") from None
    return specs


def _document(path: Path) -> dict[str, Any]:
    try:
        return _parse(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError:
        raise SpecError(f"{path} is not a text file in UTF-8, as TOML is; save it as one") from None


def load_specs(path: str | Path) -> dict[str, Spec]:
    """Read a spec file.

    Parameters
    ----------
    path : str or Path
        A TOML file with ``[data]``, ``[defaults]`` and ``[models.NAME]`` tables.

    Returns
    -------
    dict of str to Spec
        In the order of the file.

    Raises
    ------
    SpecError
        For a file that is not there, TOML that cannot be read, or an unknown key, which it names.

    Examples
    --------
    >>> load_specs("no/such/file.toml")
    Traceback (most recent call last):
        ...
    bayesmlm.errors.SpecError: there is no spec file no/such/file.toml
    """
    path = Path(path)
    if not path.is_file():
        raise SpecError(f"there is no spec file {path}")
    return _specs_of(_document(path), path.parent)


def title_of(path: str | Path) -> str:
    """Title a spec file gives itself, or its name."""
    path = Path(path)
    return str(_document(path).get("title", path.stem))


def dump_specs(specs: Mapping[str, Spec], title: str = "") -> str:
    """Write specs as the text of a spec file, which :func:`load_specs` reads back equal.

    Raises
    ------
    SpecError
        When the specs do not share one data source.
    """
    import tomli_w

    if not specs:
        raise SpecError("there are no specs to write")
    sources = [spec.data for spec in specs.values()]
    if any(source != sources[0] for source in sources):
        raise SpecError("the specs read different data; one spec file has one data source")
    document: dict[str, Any] = {"title": title} if title else {}
    if sources[0] is not None:
        source = sources[0]
        document["data"] = {"source": source.source}
        if source.levels:
            document["data"]["levels"] = {name: list(levels) for name, levels in source.levels.items()}
        if source.derive:
            document["data"]["derive"] = {
                name: value if isinstance(value, str) else dict(value) for name, value in source.derive.items()
            }
    document["models"] = {}
    for name, spec in specs.items():
        table: dict[str, Any] = {"formula": spec.formula, "family": spec.family}
        for key in ("link", "note", "weights", "freq", "offset"):
            if getattr(spec, key):
                table[key] = getattr(spec, key)
        table["methods"] = list(spec.methods)
        table |= _changed(spec.likelihood)
        table["sampling"] = {key: value for key, value in asdict(spec.sampling).items() if value is not None}
        if gee := _changed(spec.gee):
            table["gee"] = gee
        if spec.priors:
            table["priors"] = _plain(spec.priors)
        document["models"][name] = table
    return tomli_w.dumps(document)


def _changed(settings: Any) -> dict[str, Any]:
    """Settings that are not the default's."""
    usual = asdict(type(settings)())
    return {key: value for key, value in asdict(settings).items() if value != usual[key]}


def _plain(value: Any) -> Any:
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, Mapping) else str(value)
