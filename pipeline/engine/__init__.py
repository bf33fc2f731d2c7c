"""How units of work are run: executors, ledger, progress, memory, files."""
