"""Imports pyarrow for the modules that read tables, or raises an error that names the extra."""

from __future__ import annotations

from softxent.errors import missing_extra

try:
    import pyarrow
    import pyarrow.compute
    import pyarrow.csv
    import pyarrow.parquet
except ImportError:
    raise missing_extra("pyarrow", needed_by="data", extra="learn") from None

__all__ = ["pyarrow"]
