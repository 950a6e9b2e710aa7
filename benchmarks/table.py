"""The table that every benchmark prints and keeps."""

from __future__ import annotations

import argparse
import os
import platform
import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import torch
from threadpoolctl import threadpool_info

from aesens.analysis.parallel import cores

COLUMNS = ["benchmark", "metric", "value", "unit"]
#: The machine of rows that were kept before rows said so.
UNKNOWN = "not noted"
#: Variables that choose the kernels of torch and NumPy.
OVERRIDES = (
    *("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ONEDNN_DEFAULT_FPMATH_MODE"),
    *("MKL_ENABLE_INSTRUCTIONS", "MKL_DEBUG_CPU_TYPE", "OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES"),
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
)


def machine() -> str:
    """This machine by what a speed depends on: processor, cores, and the kernels that torch and NumPy chose."""
    about = Path("/proc/cpuinfo")
    name = re.search(r"model name\s*: (.*)", about.read_text() if about.exists() else "")
    blas = {
        one["internal_api"]: one.get("architecture") for one in threadpool_info() if one["user_api"] == "blas"
    }
    kernels = [
        f"torch {torch.backends.cpu.get_cpu_capability()}",
        *(f"NumPy {api} {core}" for api, core in blas.items()),
    ]
    set_here = [f"{variable}={os.environ[variable]}" for variable in OVERRIDES if variable in os.environ]
    return "; ".join([name[1] if name else platform.machine(), f"{cores()} cores", *kernels, *set_here])


def folder(text: str) -> Path:
    """An option's folder of results, made now: what was measured is not to be lost at the end."""
    try:
        Path(text).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text} is no folder and cannot be made one: {error.strerror}") from error
    return Path(text)


class Table:
    """Rows of a result, shown as they come; those of several machines where they say which is theirs."""

    def __init__(self, machine: str | None = None):
        self.rows, self.machine = [], machine

    def add(self, benchmark: str, metric: str, value: float, unit: str) -> None:
        self.rows.append((benchmark, metric, f"{value:.6g}", unit))
        print(f"{benchmark:<16} {metric:<110} {value:>12.6g} {unit}", flush=True)

    def merge(self, path: Path, order: Iterable[str]) -> None:
        """Put the rows in the place of those of the same benchmarks and machine in a file, which come in `order`.

        What stands behind a comma in a benchmark's name, such as a device, plays no part in the order: a GPU's rows
        stand beside those of other machines.
        """
        table = pd.DataFrame(self.rows, columns=COLUMNS)
        if self.machine:
            table.insert(0, "machine", self.machine)
        if path.exists():
            kept = pd.read_csv(path, dtype=str, keep_default_na=False)
            if self.machine and "machine" not in kept:
                kept.insert(0, "machine", UNKNOWN)
            same = kept["benchmark"].isin(set(table["benchmark"]))
            same &= not self.machine or kept["machine"] == self.machine
            table = pd.concat([kept[~same], table])
        places = {name: place for place, name in enumerate(order)}
        table = table.sort_values(
            "benchmark",
            kind="stable",
            key=lambda c: c.map(lambda name: places.get(name.partition(",")[0], len(places))),
        )
        if self.machine:
            table = table.sort_values("machine", kind="stable")
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(path, index=False)
