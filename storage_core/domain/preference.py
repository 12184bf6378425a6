"""What the console keeps for a person: how it looks to them, and the filters of lists they come back to."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Theme(StrEnum):
    """Light or dark, or as the system says."""

    SYSTEM = "system"
    LIGHT = "light"
    DARK = "dark"


class Density(StrEnum):
    """How high rows are."""

    COMFORTABLE = "comfortable"
    COMPACT = "compact"


class Motion(StrEnum):
    """Whether anything moves: as the system says, or not at all."""

    SYSTEM = "system"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Preferences:
    """How somebody wants the console. `id` is the user's; an empty zone or language is the browser's own."""

    id: str
    theme: Theme = Theme.SYSTEM
    density: Density = Density.COMFORTABLE
    motion: Motion = Motion.SYSTEM
    time_zone: str = ""
    language: str = ""
    start_page: str = "/"
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SavedFilter:
    """A list's filters, order and columns under a name; `query` is the question part of the page's address.

    `audience` is who may see it: one person, those who work in a tenant, or those whose role holds everywhere.
    """

    id: str
    owner_id: str
    owner_name: str
    page: str
    name: str
    query: str
    shared: bool
    audience: str
    created_at: datetime


def audience_of_one(user_id: str) -> str:
    return f"user:{user_id}"


def audience_of_tenant(tenant_id: str) -> str:
    return f"tenant:{tenant_id}"


#: Those with a role that holds everywhere, while they are not narrowed to one tenant.
AUDIENCE_GLOBAL = "global"
