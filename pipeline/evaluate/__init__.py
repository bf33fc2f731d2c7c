"""Measuring detectors and scans against known labels."""
