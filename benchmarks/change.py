"""What `evaluation.change` finds of blocks that were rebuilt, and how much it makes up.

    python -m benchmarks change --encoder=runs/toy_city

Generated cities in two years (`data_prep.toy_city.renewal`): the second is by another
flight, registered 1 m off, and some blocks are rebuilt.
"""
