"""Who can write the shards, by the names of the command line."""

RUNNERS = ("local", "beam")
