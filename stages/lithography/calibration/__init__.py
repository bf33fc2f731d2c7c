"""Fitting a process to measured widths and spaces."""
