"""Tests of hotscan inside other programs."""

collect_ignore = ["klayout_session.py", "librelane_session.py"]
"""Run by the Python of KLayout and of LibreLane."""
