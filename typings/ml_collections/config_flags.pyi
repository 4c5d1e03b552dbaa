from typing import Any

from absl import flags

def DEFINE_config_file(
    name: str,
    default: str | None = None,
    help_string: str = ...,
    lock_config: bool = True,
    **kwargs: Any,
) -> flags.FlagHolder[Any]: ...
def DEFINE_config_dict(
    name: str, config: Any, **kwargs: Any
) -> flags.FlagHolder[Any]: ...
