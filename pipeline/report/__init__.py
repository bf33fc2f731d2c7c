"""What a run gives: metrics, tables, markers, the page."""
