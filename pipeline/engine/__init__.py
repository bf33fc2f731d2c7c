"""How units of work are run: sessions, executors, progress, memory; `storage` has the files."""
