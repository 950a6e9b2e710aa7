"""``python -m aesens``."""

import sys

from aesens.app.cli import main

sys.exit(main())
