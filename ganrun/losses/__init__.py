"""Loss functions (group ``loss``)."""
