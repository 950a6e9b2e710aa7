"""Collects the parity tests only where run.sh runs them, and writes the report after a complete, successful run."""

import os

import pytest

collect_ignore_glob = ["build_openl3/*"]
if not os.environ.get("AESENS_PARITY"):
    # Without the reference packages there is nothing to compare with.
    collect_ignore_glob.append("*.py")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus):
    if os.environ.get("AESENS_PARITY") and not exitstatus:
        from compare import write_report

        write_report()
