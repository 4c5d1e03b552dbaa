"""Which regions train, choose settings and are tested, and what is predicted."""
