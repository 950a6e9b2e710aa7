"""The one progress bar: a widget in a live notebook, plain text in a terminal and under papermill.

A widget cannot be seen in a terminal and leaves a hole in a saved notebook, so the executor of notebooks sets
``AESENS_PLAIN_PROGRESS`` and passes the text of the bars through to its own terminal.
"""

import os

if os.environ.get("AESENS_PLAIN_PROGRESS"):
    from tqdm import tqdm
else:
    from tqdm.auto import tqdm

__all__ = ["tqdm"]
