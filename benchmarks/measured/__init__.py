"""What sections measure with libraries that take seconds to load.

Each has the name of its section, whose module says what can be asked and loads nothing.
"""
