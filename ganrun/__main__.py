"""``python -m ganrun``."""

from ganrun.cli.app import main

main()
