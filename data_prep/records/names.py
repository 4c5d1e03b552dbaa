"""Names of the runners that can write shards, as on the command line."""

RUNNERS = ("local", "beam")
