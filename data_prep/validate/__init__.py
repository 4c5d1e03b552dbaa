"""Checks sources before a build and records after it, and shows the result."""
