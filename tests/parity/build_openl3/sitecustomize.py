"""Lets openl3 0.4.2 be built without its download site: run.sh puts this folder on the path of that build alone.

openl3's setup.py fetches twelve weight files while it is being built. Here it gets empty placeholders instead: the
parity tests give the package their own weights by path and never read its files.
"""

import gzip
import urllib.request


def _placeholder(url, filename=None, *_, **__):
    with gzip.open(filename, "wb"):
        pass
    return filename, None


urllib.request.urlretrieve = _placeholder
