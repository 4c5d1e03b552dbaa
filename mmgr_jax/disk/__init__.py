"""Writes files and folders completely, safely and by one process at a time."""
