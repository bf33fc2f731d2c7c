"""Making the shipped models, and the tables of detectors."""
