"""Extract with a slow toy model in child processes that are killed after a few chunks; run by test_faults.py.

python killed.py CLIPS KILLS: prints how many embeddings were missing after each kill, then extracts the rest.
"""

import os
import random
import signal
import sys
import time

from support import slow_sweeps

from aesens.embeddings.extract import extract


def main(clips: str, kills: int) -> None:
    sweeps = slow_sweeps(clips, seconds=0.05)
    chance, asked = random.Random(0), [sweep.store() for sweep in sweeps]

    def written() -> int:
        return sum(len(one.store.there()) for one in asked)

    for _ in range(kills):
        if (child := os.fork()) == 0:
            extract(sweeps, progress=False)
            os._exit(0)
        goal = min(48, written() + chance.randint(0, 4))
        while written() < goal:
            time.sleep(0.005)
        # Anywhere within the next chunks.
        time.sleep(chance.uniform(0, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        print(sum(int(sweep.store().missing().sum()) for sweep in sweeps), flush=True)
    extract(sweeps, progress=False)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
