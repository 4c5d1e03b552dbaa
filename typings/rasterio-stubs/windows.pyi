# rasterio declares a window's fields with attrs, which its own code does not annotate.
# They are whatever numbers a window is made of: mostly whole ones.
from typing import Any

class Window:
    col_off: Any
    row_off: Any
    width: Any
    height: Any
    def __init__(
        self, col_off: float, row_off: float, width: float, height: float
    ) -> None: ...
    def toranges(self) -> tuple[tuple[int, int], tuple[int, int]]: ...
