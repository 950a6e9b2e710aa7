"""``python -m aesens``."""

import sys

try:
    from aesens.app.cli import main

    sys.exit(main())
except KeyboardInterrupt:
    # While it was imported, which takes seconds.
    sys.exit(130)
