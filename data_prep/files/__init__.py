"""Opens users' files of all kinds safely, or refuses them in one sentence."""
