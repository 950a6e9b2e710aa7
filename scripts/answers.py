"""Write into README.md what stands in committed tables: the demo's answers, and how fast the extraction is.

Run it after a run of the demo, or a benchmark, whose tables are committed: `python scripts/answers.py`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pandas as pd

from aesens.tables.answers import answers

RESULTS = "benchmarks/results/extraction.csv"


def speed(table: pd.DataFrame) -> str:
    """How many times as fast as the per-file way the extraction is, and on which processors."""
    rows = table[
        (table["benchmark"] == "per-file way") & table["metric"].str.startswith("ratio, three models")
    ]
    turns = rows[rows["metric"].str.contains("least|largest")]["value"].astype(float)
    processors = [", ".join(name.split("; ")[:2]) for name in rows["machine"].unique()]
    ratio = (
        f"{turns.min():.1f} to {turns.max():.1f} times as fast as the authors' packages one file at a time"
    )
    return f"Embedding with OpenL3, PANNs and CLAP is {ratio}\n({'; '.join(processors)}; from `{RESULTS}`)."


def main(root: Path) -> None:
    """Write both parts between their marks."""
    lines = answers(pd.read_csv(root / "figures" / "demo" / "09_claims.csv"))
    parts = {
        "answers": "".join(f"- {line}\n" for line in lines),
        "speed": speed(pd.read_csv(root / RESULTS)),
    }
    readme = root / "README.md"
    text = readme.read_text(encoding="utf-8")
    for name, part in parts.items():
        block = f"<!-- {name} -->\n{part}<!-- /{name} -->"
        text = re.sub(f"<!-- {name} -->.*?<!-- /{name} -->", lambda _, block=block: block, text, flags=re.S)
    readme.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1]))
