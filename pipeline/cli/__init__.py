"""The command line."""

import os

# Products of matrices are small here: threads of NumPy's library wait for each other longer than
# they work. Set before NumPy is loaded; workers and the reader inherit it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
