"""Measurements beside peers, and beside networks and programs that others have made.

`python -m benchmarks SECTION` measures a part of the program, `python -m
benchmarks.data_prep SECTION` a part of the preparation of data; the studies have
commands of their own.
"""
