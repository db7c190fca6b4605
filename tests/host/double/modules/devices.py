"""The double computes in float32 on the CPU."""

from contextlib import nullcontext


def autocast() -> "nullcontext[None]":
    return nullcontext()
