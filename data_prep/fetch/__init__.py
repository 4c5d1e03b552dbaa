"""Fetches imagery, POIs and labels of an area from open sources."""
