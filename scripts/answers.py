"""Write into README.md the lines that the demo's table of claims comes to.

Run it after a run of the demo whose tables are committed: `python scripts/answers.py`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from aesens.tables.answers import answers

MARKS = "<!-- answers -->", "<!-- /answers -->"


def main(root: Path) -> None:
    table = pd.read_csv(root / "figures" / "demo" / "09_claims.csv")
    readme = root / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    lines = "\n".join(f"- {line}" for line in answers(table))
    readme.write_text(f"{before}{MARKS[0]}\n{lines}\n{MARKS[1]}{after}", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1]))
