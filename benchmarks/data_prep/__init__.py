"""What the preparation of data costs, in seconds and memory, beside a plain peer."""
