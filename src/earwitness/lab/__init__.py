"""The simulated ecosystem with sealed truth, in place of the real internet.

Takes a world's name and a seed; gives servers on loopback (`start`), what the public may know of them (`catalogue`,
`describe`, `worlds`), and afterwards how well a study found what they did (`score`).
"""

from earwitness.lab.catalogue import Catalogue, PublicPlatform, PublicSite, PublicSkill, catalogue, describe
from earwitness.lab.prebid import find_prebid
from earwitness.lab.score import score
from earwitness.lab.session import Lab, LabFailed, start
from earwitness.lab.truth import seal
from earwitness.lab.world import Persona
from earwitness.lab.world_file import worlds

__all__ = [
    "Catalogue",
    "Lab",
    "LabFailed",
    "Persona",
    "PublicPlatform",
    "PublicSite",
    "PublicSkill",
    "catalogue",
    "describe",
    "find_prebid",
    "score",
    "seal",
    "start",
    "worlds",
]
