"""Virtual speakers: take an enrolled profile, a link to a network and utterances; give what was heard and fetched.

A speaker only performs; what it sends and receives is recorded by whoever owns the link.
"""

from earwitness.speakers.avs import AvsSpeaker, Gap, Spoken, StreamFetched
from earwitness.speakers.speech import find_espeak

__all__ = ["AvsSpeaker", "Gap", "Spoken", "StreamFetched", "find_espeak"]
