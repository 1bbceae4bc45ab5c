"""Data sets (group ``dataset``)."""
