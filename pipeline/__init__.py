"""How it is run: files, arrays, workers, memory, resume, progress."""
