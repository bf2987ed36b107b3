"""Supernodes: nodes of a circuit that are read, exported and intervened on as one."""
