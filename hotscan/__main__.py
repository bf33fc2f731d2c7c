"""``python -m hotscan``: the command line."""

from pipeline.cli.app import main

main()
