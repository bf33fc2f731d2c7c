"""The results of a run: metrics, tables, markers, the report page."""

WAIVERS = "waivers.toml"
"""The file of waivers, unless another is given."""
