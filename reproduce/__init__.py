"""Claims of the papers, tried: ``python -m reproduce NAME ...``; see docs/reproductions.md for what came out."""
