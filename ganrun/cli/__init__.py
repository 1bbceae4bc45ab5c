"""The command line. Nothing here imports torch at module level."""
