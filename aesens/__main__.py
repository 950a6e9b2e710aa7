"""``python -m aesens``."""

import sys

from aesens.cli import main

sys.exit(main())
