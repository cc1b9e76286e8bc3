"""The event log: DuckDB behind a journal, and the same port in memory.

`open_log(home, clock=…, ids=…)` is in `duckdb_log`, `MemoryLog(clock=…, ids=…)` in `memory_log`. Import them late: they
bring DuckDB.
"""
