"""Work that takes long: told while it goes on, and done ahead."""
