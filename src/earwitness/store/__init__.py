"""The study bundle: a directory that holds evidence, tables and the ledger, and survives `kill -9`.

Takes: artefacts and rows from collecting and analysing steps. Gives: tables by SQL, evidence by hash, and the answer to
"has anything been changed?".
"""

from earwitness.store.bundle import Bundle, create
from earwitness.store.ledger import PlannedStep
from earwitness.store.step import Step

__all__ = ["Bundle", "PlannedStep", "Step", "create"]
