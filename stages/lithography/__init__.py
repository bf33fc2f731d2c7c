"""Lithography: what a drawn shape prints as, and where that fails."""
