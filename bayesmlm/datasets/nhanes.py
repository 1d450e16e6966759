"""NHANES 2011-12, prepared as the teaching chapter does: found, or built from the official survey files."""

from __future__ import annotations

import os
from pathlib import Path

from bayesmlm.errors import DataError

__all__ = ["SURVEY_FILES", "build", "locate"]

SURVEY_FILES = {
    "DEMO_G.XPT": "demographics",
    "DPQ_G.XPT": "depression screener",
    "MCQ_G.XPT": "medical conditions",
    "PAQ_G.XPT": "physical activity",
}
"""The official files, by the names the National Center for Health Statistics gives them."""

_RACE = {1: "MexicanAmerican", 2: "OtherHispanic", 3: "White", 4: "Black", 5: "Other", 6: "Other", 7: "Other"}


def locate(name: str, cache: Path, survey_files: str | Path | None = None) -> Path:
    """Find the prepared table, or build it.

    Looks in ``$BAYESMLM_DATA``, then in the cache, then builds it from ``survey_files``.

    Raises
    ------
    DataError
        When it is in none of these places, saying what to do.
    """
    folders = [Path(os.environ["BAYESMLM_DATA"])] if os.environ.get("BAYESMLM_DATA") else []
    for folder in [*folders, cache]:
        if (folder / f"{name}.csv").is_file():
            return folder / f"{name}.csv"
    if survey_files is None:
        raise DataError(
            f"{name} does not come with bayesmlm: put {name}.csv in a folder and set BAYESMLM_DATA to that folder, or "
            f'give load_dataset("{name}", survey_files=FOLDER) a folder with the official NHANES 2011-12 files '
            f"({', '.join(SURVEY_FILES)})"
        )
    return build(Path(survey_files), cache / f"{name}.csv")


def build(folder: Path, target: Path) -> Path:
    """Build the prepared table from the official survey files.

    Parameters
    ----------
    folder : Path
        Holds the files of :data:`SURVEY_FILES`.
    target : Path
        Where the csv is written.

    Raises
    ------
    DataError
        For a file that is not there, by name.
    """
    import pandas as pd

    for file, what in SURVEY_FILES.items():
        if not (folder / file).is_file():
            raise DataError(
                f"{folder} has no {file} (the NHANES 2011-12 {what} file); all of: {', '.join(SURVEY_FILES)}"
            )
    demo, phq, medical, activity = (pd.read_sas(folder / file, format="xport") for file in SURVEY_FILES)
    items = [f"DPQ{i:03d}" for i in range(10, 100, 10)]
    # SAS stores 0 as 5.4e-79; 7 and 9 are refusals and "don't know".
    answers = phq[items].round().where(lambda value: value <= 3)
    merged = (
        pd.DataFrame({"SEQN": phq.SEQN, "dep": answers.sum(axis=1, skipna=False)})
        .merge(demo, on="SEQN")
        .merge(medical[["SEQN", "MCQ010"]], on="SEQN")
        .merge(activity[["SEQN", "PAD680"]], on="SEQN")
    )
    merged = merged[merged.dep.notna() & merged.MCQ010.isin([1, 2]) & (merged.PAD680 < 7777)]
    table = pd.DataFrame(
        {
            "dep": merged.dep.astype(int),
            "dep2": (merged.dep >= 10).astype(int),
            "asthma": merged.MCQ010.map({1.0: "Asthma", 2.0: "No Asthma"}),
            "famsize": merged.DMDFMSIZ.where(merged.DMDFMSIZ <= 6),
            "sed": merged.PAD680.astype(int),
            "race": merged.RIDRETH3.astype(int).map(_RACE),
            "cluster": merged.SDMVSTRA.astype(int) - 89,
            "sdmvstra": merged.SDMVSTRA.astype(int),
            "sdmvpsu": merged.SDMVPSU.astype(int),
            "seqn": merged.SEQN.astype(int),
        }
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(target, index=False)
    return target
