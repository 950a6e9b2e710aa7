"""The table that every benchmark prints and keeps."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

COLUMNS = ["benchmark", "metric", "value", "unit"]
#: The machine of rows that were kept before rows said so.
UNKNOWN = "not noted"


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
