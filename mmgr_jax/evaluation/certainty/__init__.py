"""How far from the truth, and how sure that is."""
