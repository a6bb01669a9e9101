"""Keeping decisions out of compiled code: a graph would freeze one step's.

A process that has not imported dynamo compiles nothing, and importing it takes seconds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def python_only(function: Function) -> Function:
    """Neither the function nor what it calls is compiled."""
    dynamo = sys.modules.get("torch._dynamo")
    return function if dynamo is None else dynamo.disable(function)


def uncompiled(function: Function) -> Function:
    """The function is not compiled, what it calls may be."""
    dynamo = sys.modules.get("torch._dynamo")
    return function if dynamo is None else dynamo.disable(function, recursive=False)
