"""The results of a run: metrics, tables, markers, the report page."""
