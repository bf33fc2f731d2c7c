"""The command line, as ``hotscan`` and as ``python -m hotscan``.

The version alone is printed without loading the commands, which takes twice as long.
"""

from __future__ import annotations

import sys

import hotscan


def main() -> None:
    """Run the command line."""
    if sys.argv[1:] == ["--version"]:
        print(f"hotscan {hotscan.__version__}")
        return
    from pipeline.cli import app

    app.main()


if __name__ == "__main__":
    main()
