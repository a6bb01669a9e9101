"""Keeping decisions out of compiled code: a graph would freeze one step's.

A process that has not imported dynamo compiles nothing, and importing it takes seconds.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

WHY = "ECAD decides at run time what is computed; compile the model without fullgraph"
Function = TypeVar("Function", bound=Callable[..., Any])


def python_only(function: Function) -> Function:
    """Neither the function nor what it calls is compiled."""
    return disabled(function)


def uncompiled(function: Function) -> Function:
    """The function is not compiled, what it calls may be."""
    return disabled(function, recursive=False)


def disabled(function: Function, **options: Any) -> Function:
    dynamo = sys.modules.get("torch._dynamo")
    if dynamo is None:
        return function
    if takes_reason(dynamo.disable):
        options["reason"] = WHY
    return dynamo.disable(function, **options)


@cache  # asking takes longer than all else here, and a sampling begins with hundreds of these
def takes_reason(disable: Callable[..., Any]) -> bool:
    """Since PyTorch 2.7 it does."""
    return "reason" in inspect.signature(disable).parameters
