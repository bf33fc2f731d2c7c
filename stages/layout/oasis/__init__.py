"""OASIS files, checked and read from their bytes."""
