"""Measuring prints: contours, widths, connectivity, defects."""
