"""Studies: from study.yaml to evidence, tables and findings.

Takes a study's directory and an environment (an internet to work in). Gives a frozen, randomised plan, a runner that
resumes at every step, the analysis of what was collected, and the findings in plain sentences.
"""

from earwitness.study.analysis import analyse
from earwitness.study.config import StudyFile, load_study
from earwitness.study.design import Assignment, enrolled, make_assignments, make_plan
from earwitness.study.outlook import outlook
from earwitness.study.readiness import Check, readiness, require_tools
from earwitness.study.runner import Environment, run
from earwitness.study.template import new_study, study_yaml

__all__ = [
    "Assignment",
    "Check",
    "Environment",
    "StudyFile",
    "analyse",
    "enrolled",
    "load_study",
    "make_assignments",
    "make_plan",
    "new_study",
    "outlook",
    "readiness",
    "require_tools",
    "run",
    "study_yaml",
]
