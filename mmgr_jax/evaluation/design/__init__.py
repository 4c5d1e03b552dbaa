"""Who learns, who chooses, who is tested, and what is predicted."""
