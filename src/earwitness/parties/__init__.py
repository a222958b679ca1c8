"""Takes host names; gives registrable domain, organisation and purpose, each with source and date. All offline."""

from earwitness.parties.directory import Directory
from earwitness.parties.registrable import registrable_domain

__all__ = ["Directory", "registrable_domain"]
