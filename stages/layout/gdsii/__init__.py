"""GDSII streams, checked and read from their bytes."""
