"""Writes files and folders safely: complete, marked as ours, by one process each."""
