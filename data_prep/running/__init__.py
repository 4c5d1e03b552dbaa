"""Runs long work: progress lines, processes, and threads that work ahead."""
