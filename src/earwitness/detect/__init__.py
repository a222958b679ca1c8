"""Takes collected tables; gives what they prove: identifiers, syncs, and which hosts a skill makes a speaker contact.

Pure functions over Arrow tables: no I/O, no clock, no random numbers, and no answer depends on the order of rows.
"""

from earwitness.detect.contacts import contact_gaps, contacts
from earwitness.detect.identifiers import identifiers
from earwitness.detect.reach import reach_query
from earwitness.detect.syncs import syncs

__all__ = ["contact_gaps", "contacts", "identifiers", "reach_query", "syncs"]
