"""The command line and what it does: runs, plans, comparisons, reports."""
