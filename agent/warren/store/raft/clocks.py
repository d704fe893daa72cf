"""Whose time of day is wrong: decided from what peers say in their hellos. Pure.

No decision of the log depends on it; certificates, tokens and what people read do. A manager whose
clock a majority of the others contradicts, all of them alike, is told to stop: the rest of the
cluster goes on without it. One that contradicts a few only says so, as it cannot know who is right.
"""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime

WORTH_SAYING = 60.0
TOO_FAR = 3600.0
"""Seconds. A new certificate is accepted by clocks that are 10 minutes behind."""
ALIKE = 600.0
"""Clocks that contradict this one agree with each other as well as this."""


def difference(peer: str, here: float, there: float) -> str:
    """A line about two clocks that differ; "": it is not worth one."""
    if abs(there - here) < WORTH_SAYING:
        return ""
    return (
        f"the clocks of this host and of {peer} differ by about {_about(there - here)}: "
        f"here it is {_told(here)}, there {_told(there)}"
    )


def verdict(here: float, ahead: Mapping[str, float], voters: Collection[str]) -> str:
    """Why a manager with this clock must not take part; "": it may.

    `ahead`: by how many seconds the clocks of others were ahead of this one. `voters`: who counts.
    """
    far = sorted(peer for peer in voters if abs(ahead.get(peer, 0.0)) > TOO_FAR)
    if len(far) <= len(voters) // 2:
        return ""
    shares = [ahead[peer] for peer in far]
    if max(shares) - min(shares) > ALIKE:
        return ""
    return (
        f"this host's clock is off by about {_about(shares[0])}: it says {_told(here)}, and those "
        f"of {' and '.join(far)} say {_told(here + shares[0])}; set it, nothing was changed here"
    )


def _about(seconds: float) -> str:
    hours = round(abs(seconds) / 3600)
    if hours >= 36:
        return f"{round(hours / 24)} days"
    if hours >= 20:
        return "a day"
    return f"{hours} hours" if hours > 1 else f"{round(abs(seconds) / 60)} minutes"


def _told(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
