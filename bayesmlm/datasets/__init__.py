"""Datasets: embedded tables with their provenance, and the loader."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from bayesmlm.errors import DataError, among

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CATALOGUE", "Entry", "list_datasets", "load_dataset"]


@dataclass(frozen=True, slots=True)
class Entry:
    """What the catalogue knows of a dataset.

    Attributes
    ----------
    name, title, provenance : str
    rows : int
    factors : dict of str to tuple of str
        Categorical columns with their levels in order; an empty tuple means in order of appearance.
    embedded : bool
        Whether the file comes with the package.
    """

    name: str
    title: str
    provenance: str
    rows: int
    factors: dict[str, tuple[str, ...]]
    embedded: bool = True


CATALOGUE: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            "contraception",
            "Contraceptive use of 1,934 women in 60 districts of Bangladesh",
            "1988 Bangladesh Fertility Survey (Huq & Cleland, 1990); the Contraception data of R's mlmRev "
            "(Bates, Maechler & Bolker), GPL-2; `ch` is derived: any living children",
            1934,
            {
                "woman": (),
                "district": (),
                "use": ("N", "Y"),
                "livch": ("0", "1", "2", "3+"),
                "urban": ("N", "Y"),
                "ch": ("N", "Y"),
            },
        ),
        Entry(
            "exam",
            "Examination scores of 4,059 pupils in 65 schools of Inner London",
            "Goldstein, Rasbash et al. (1993); the Exam data of R's mlmRev, GPL-2; `success` is derived: normexam >= 0",
            4059,
            {
                "school": (),
                "schgend": ("mixed", "boys", "girls"),
                "vr": ("bottom 25%", "mid 50%", "top 25%"),
                "intake": ("bottom 25%", "mid 50%", "top 25%"),
                "sex": ("F", "M"),
                "type": ("Mxd", "Sngl"),
                "student": (),
            },
        ),
        Entry(
            "cbpp",
            "Contagious bovine pleuropneumonia: serological incidence in 15 herds over 4 periods",
            "Lesnoff et al. (2004), Veterinary Research 35; the cbpp data of R's lme4, GPL-2",
            56,
            {"herd": (), "period": ("1", "2", "3", "4")},
        ),
        Entry(
            "sleepstudy",
            "Reaction times of 18 drivers over ten days of sleep deprivation",
            "Belenky et al. (2003), Journal of Sleep Research 12: the drivers with three hours in bed a night; the "
            "sleepstudy data of R's lme4, GPL-2; Reaction in milliseconds",
            180,
            {"Subject": ()},
        ),
        Entry(
            "nhanes_2012",
            "Depression, asthma and sedentary time of adults, NHANES 2011-12",
            "National Health and Nutrition Examination Survey, 2011-12 (National Center for Health Statistics); "
            "dep = PHQ-9 sum, dep2 = dep >= 10; not embedded",
            4632,
            {
                "dep2": ("0", "1"),
                "asthma": ("No Asthma", "Asthma"),
                "race": ("MexicanAmerican", "OtherHispanic", "White", "Black", "Other"),
            },
            embedded=False,
        ),
    )
}
"""Every dataset by name."""


def list_datasets() -> pd.DataFrame:
    """Table of the datasets there are.

    Examples
    --------
    >>> list_datasets().name.tolist()
    ['contraception', 'exam', 'cbpp', 'sleepstudy', 'nhanes_2012']
    """
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "name": e.name,
                "rows": e.rows,
                "embedded": e.embedded,
                "title": e.title,
                "provenance": e.provenance,
            }
            for e in CATALOGUE.values()
        ]
    )


def cache_folder() -> Path:
    """Folder in which datasets that are not embedded are kept (``$XDG_CACHE_HOME/bayesmlm``)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bayesmlm"


def load_dataset(name: str | None = None, survey_files: str | Path | None = None) -> pd.DataFrame:
    """Load a dataset, its factors with their levels in the documented order.

    Parameters
    ----------
    name : str, optional
        A name from :data:`CATALOGUE`; without one, the list of datasets is returned.
    survey_files : str or Path, optional
        For ``nhanes_2012`` only: the folder with the official survey files, from which it is built once.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    DataError
        For a name that does not exist, or a dataset that is not embedded and not at hand.

    Examples
    --------
    >>> d = load_dataset("contraception")
    >>> d.shape, d.livch.cat.categories.tolist()
    ((1934, 7), ['0', '1', '2', '3+'])
    """
    import pandas as pd

    if name is None:
        return list_datasets()
    if name not in CATALOGUE:
        raise DataError(f'there is no dataset "{name}"; {among(name, CATALOGUE)}')
    entry = CATALOGUE[name]
    if entry.embedded:
        with files(__package__).joinpath(f"{name}.csv").open(encoding="utf-8") as handle:
            frame = pd.read_csv(handle, dtype=dict.fromkeys(entry.factors, "str"))
    else:
        from bayesmlm.datasets import nhanes

        frame = pd.read_csv(
            nhanes.locate(name, cache_folder(), survey_files), dtype=dict.fromkeys(entry.factors, "str")
        )
    for column, levels in entry.factors.items():
        order = list(levels) or list(dict.fromkeys(frame[column].dropna()))
        frame[column] = pd.Categorical(frame[column], categories=order)
    return frame
