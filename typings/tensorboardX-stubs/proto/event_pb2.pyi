# Protocol buffers make these classes while they are imported.
from typing import Any

class SessionLog:
    START: int
    def __init__(self, *, status: int) -> None: ...

class Event:
    def __init__(self, *, wall_time: float, step: int, **content: Any) -> None: ...
