"""The compiler of the kernels: numba for the interpreter, plain functions over plain integers for the type checker."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    _Function = TypeVar("_Function", bound=Callable[..., object])

    int64 = uint64 = int

    def njit(*signature: str, **options: bool | str) -> Callable[[_Function], _Function]:
        """Compiles a function, for each of the given signatures if there are any, else when it is first called."""
        ...
else:
    from numba import njit
    from numpy import int64, uint64

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Ints32 = npt.NDArray[np.int32]

__all__ = ["Bytes", "Ints", "Ints32", "int64", "njit", "uint64"]
