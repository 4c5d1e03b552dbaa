"""Records: written shard by shard, and what that would take."""
