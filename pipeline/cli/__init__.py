"""The command line: `commands`, the options that they share, and what they print."""

import os

# What is computed at once is small here: threads of NumPy's and torch's libraries wait for each
# other far longer than they work. Set before either is loaded; workers and the reader inherit it.
# Training asks torch for as many as it is given.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
