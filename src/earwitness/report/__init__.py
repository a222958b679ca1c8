"""The report of a study.

Takes: a study's tables. Gives: one HTML file that needs no network and no script to be read, in which each number
opens to its query and its first rows of evidence; and the findings as JSON.
"""

from earwitness.report.claims import findings_json
from earwitness.report.page import render, write_report

__all__ = ["findings_json", "render", "write_report"]
