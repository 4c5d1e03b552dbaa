"""What a run leaves to go on from: the only room that imports Orbax."""
