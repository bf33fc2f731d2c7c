"""A scan from layout file to report, its forecast, and looking at runs."""
