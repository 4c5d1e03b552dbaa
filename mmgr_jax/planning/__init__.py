"""Estimates what a run would cost on another machine, from its compiled step."""
