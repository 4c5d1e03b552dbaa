"""The breaks, colours and printed numbers of the legends of all maps.

This package needs only the standard library, because the report page needs no more.
"""
