"""How much of a graph holds: what it predicts, compared with what interventions on the model do."""
