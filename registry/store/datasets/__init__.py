"""Training data: CSV, JSON Lines and Parquet, checked before anything is sent or spent, and made into one shape.

`check` finds every fault with its file, row and column; `convert` writes the JSON Lines that providers take. DuckDB
reads and finds, in bounded memory; Python explains the rows that DuckDB found.
"""

from __future__ import annotations

from registry.store.datasets.check import check
from registry.store.datasets.convert import convert
from registry.store.datasets.model import Columns, DataFault, DataReport, DataSummary

__all__ = ["Columns", "DataFault", "DataReport", "DataSummary", "check", "convert"]
