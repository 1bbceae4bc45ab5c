"""Metrics and their feature extractors (groups ``metric`` and ``extractor``)."""
