"""Writes records shard by shard, and estimates the effort."""
