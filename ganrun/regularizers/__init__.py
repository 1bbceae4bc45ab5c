"""Regularizers and input techniques (group ``regularizer``)."""
