"""The files of a run: where they are, how they are written, sealed, read and shared."""
