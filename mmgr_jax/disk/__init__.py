"""Files and folders as this program leaves them: whole, its own, one at a time."""
