"""The report of the study of hallucination."""
