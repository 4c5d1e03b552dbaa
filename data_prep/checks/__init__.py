"""Are the sources of a city fit? All that is wrong is named before work begins."""
