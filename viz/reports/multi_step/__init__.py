"""The report of the study of multi-step reasoning."""
