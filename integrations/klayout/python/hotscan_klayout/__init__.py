"""Scan for lithography hotspots from within KLayout.

Runs in KLayout's own Python, which need not have hotscan: the command `hotscan` does the work.
"""
