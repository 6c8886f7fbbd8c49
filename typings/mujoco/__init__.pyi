# MuJoCo 3.3 is a compiled extension without stubs; its names are Any to the type checker.
from typing import Any

def __getattr__(name: str) -> Any: ...  # noqa: ANN401
