"""Compares the program with peers, and with networks and programs by others.

`python -m benchmarks SECTION` measures a part of the program, `python -m
benchmarks.data_prep SECTION` a part of the preparation of data; the studies have
commands of their own.
"""
