"""Arithmetic of the networks: float32 as on a CPU, or the faster and coarser kinds of a GPU.

Conventions: ``"float32"`` is IEEE single precision everywhere and the default. ``"tf32"`` lets the tensor cores of an
NVIDIA GPU round the factors of products to 10 bits of mantissa; ``"bf16"`` computes convolutions and matrix products
in bfloat16 (8 bits). Front ends, from waveform to spectrogram, stay in float32 in all of them (`in_float32`): a
logarithm would turn the rounding of quiet bins into decibels. benchmarks/extraction.py measures the error of the
embeddings beside the speed.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

__all__ = ["PRECISIONS", "by_definition", "computing", "defining", "in_float32"]

#: Kinds of arithmetic.
PRECISIONS = ("float32", "tf32", "bf16")


@contextmanager
def computing(precision: str, device: torch.device) -> Iterator[None]:
    """Compute a network in one of the `PRECISIONS`."""
    with ExitStack() as stack:
        if device.type == "cuda":
            # cuDNN rounds convolutions to TF32 unless told not to, unlike a CPU.
            allowed = precision == "tf32"
            # Always the same algorithms: what is computed again after a kill must end in the same bits.
            stack.enter_context(
                torch.backends.cudnn.flags(
                    enabled=True, benchmark=False, deterministic=True, allow_tf32=allowed
                )
            )
            stack.enter_context(_products("high" if allowed else "highest"))
        if precision == "bf16":
            stack.enter_context(torch.autocast(device.type, dtype=torch.bfloat16))
        yield


@contextmanager
def _products(precision: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def in_float32(frontend):
    """Decorate a method from waveforms to spectrograms, which stays in float32 whatever the network computes in."""

    @functools.wraps(frontend)
    def computed(self, waves):
        with ExitStack() as stack:
            if waves.device.type == "cuda":
                stack.enter_context(_products("highest"))
            stack.enter_context(torch.autocast(waves.device.type, enabled=False))
            return frontend(self, waves)

    return computed


_DEFINING = False


@contextmanager
def defining() -> Iterator[None]:
    """Compute networks as their layers define them, in all threads: to count operations, or to compare."""
    global _DEFINING
    before, _DEFINING = _DEFINING, True
    try:
        yield
    finally:
        _DEFINING = before


def by_definition() -> bool:
    """Whether `defining` is in force."""
    return _DEFINING
