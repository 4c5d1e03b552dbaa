"""Points of interest: any source of places -> categories and metric positions."""

from data_prep.pois.table import PoiTable, counted, read, rows_in_words

__all__ = ["PoiTable", "counted", "read", "rows_in_words"]
