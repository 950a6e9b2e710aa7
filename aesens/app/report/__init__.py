"""The report: a run as pages for a browser, readable from the file system without a network.

The pages are the executed notebooks (nbconvert with the template beside this file), a contents page, a gallery of
figures and tables, their provenance, and the API reference (pdoc). Formulas become MathML while the report is built, so
no script and nothing from elsewhere is needed to read it. Pictures and tables are linked where they lie: move
``figures/<profile>/`` as a whole.
"""

from aesens.app.report.build import ReportError, build_report

__all__ = ["ReportError", "build_report"]
