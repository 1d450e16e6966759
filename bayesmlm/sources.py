"""Data that are named rather than given: embedded datasets, csv and parquet files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayesmlm.datasets import CATALOGUE, load_dataset
from bayesmlm.errors import DataError, among
from bayesmlm.frames import prepare
from bayesmlm.spec import DataSource

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_source", "read_table"]


def read_source(source: DataSource) -> pd.DataFrame:
    """Read and prepare the data a spec file names.

    Raises
    ------
    DataError
        For a source that is neither a dataset nor a csv or parquet file.
    """
    if source.source in CATALOGUE:
        data = load_dataset(source.source)
    else:
        path = Path(source.source)
        if path.suffix not in (".csv", ".parquet"):
            raise DataError(
                f'the data source "{source.source}" is neither a csv or parquet file nor a dataset; '
                f"{among(source.source, CATALOGUE)}"
            )
        data = read_table(path)
    return prepare(data, source.levels, source.derive)


def read_table(path: Any) -> pd.DataFrame:
    """Read a csv or parquet file.

    Raises
    ------
    DataError
        For a file that is not there or cannot be read as a table.
    """
    import pandas as pd

    try:
        return pd.read_parquet(path) if str(path).endswith(".parquet") else pd.read_csv(path)
    except FileNotFoundError:
        raise DataError(f"there is no file {path}") from None
    except (ValueError, OSError, ImportError) as error:
        raise DataError(f"{path} cannot be read as a table: {str(error).splitlines()[0]}") from None
