"""Graph JSON of this and of other programs, read into a circuit; `viz` writes it."""
