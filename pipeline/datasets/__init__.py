"""Datasets of labelled clips, and where they come from."""
