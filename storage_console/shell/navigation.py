"""The navigation as data: one line per page."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """A page in the menu; `keys` are other words people look for."""

    label: str
    href: str
    icon: str
    group: str
    words: str = ""


MENU = (
    Entry("Dashboard", "/", "layout-dashboard", "", "overview home start"),
    Entry(
        "Providers",
        "/providers",
        "server",
        "Storage",
        "engines servers postgresql mongodb sqlite tinydb files",
    ),
    Entry("Databases", "/databases", "database", "Storage", "schemas collections tables"),
    Entry("Tenants", "/tenants", "building-2", "Storage", "customers organisations namespaces"),
    Entry("Backups", "/backups", "archive", "Protection", "restore proof recovery points"),
    Entry("Jobs", "/jobs", "list-checks", "Operation", "work progress running queue tasks"),
    Entry("Audit", "/audit", "scroll-text", "Operation", "log history who changed verify trail"),
    Entry(
        "Settings", "/settings", "settings", "Operation", "configuration options environment two-person rule"
    ),
)

#: Pages that other pages lead to: the settings' parts, one's own account.
MORE = (
    Entry(
        "Schedules", "/backups/schedules", "calendar-clock", "Protection", "cron retention keep nightly pause"
    ),
    Entry(
        "Users and roles", "/settings/users", "users", "Settings", "people grants scopes permissions disable"
    ),
    Entry("Sign-ins", "/settings/sessions", "monitor", "Settings", "sessions browsers revoke"),
    Entry("API tokens", "/settings/tokens", "key-round", "Settings", "programs keys revoke"),
    Entry("Secrets", "/settings/secrets", "vault", "Settings", "keys passwords master key rotate recovery"),
    Entry(
        "Approvals",
        "/settings/approvals",
        "user-round-check",
        "Settings",
        "second person two-person rule wait",
    ),
    Entry(
        "Notifications",
        "/settings/notifications",
        "bell",
        "Settings",
        "channels web hook slack mail alerts tell",
    ),
    Entry(
        "Profile",
        "/profile",
        "circle-user-round",
        "Account",
        "me own sessions tokens password preferences theme",
    ),
)


@dataclass(frozen=True, slots=True)
class Command:
    """Something the palette offers: a page, or an action by its `verb`."""

    label: str
    kind: str
    icon: str
    href: str = ""
    verb: str = ""
    words: str = ""


COMMANDS = (
    *(Command(e.label, "Go to", e.icon, href=e.href, words=e.words) for e in (*MENU, *MORE)),
    Command("Switch light and dark", "Action", "sun-moon", verb="theme", words="color mode appearance night"),
    Command("Switch row density", "Action", "rows-3", verb="density", words="compact comfortable rows"),
    Command("Sign out", "Action", "log-out", verb="out", words="leave logout exit"),
)


def matching(text: str) -> list[int]:
    """Positions in COMMANDS whose words contain every word typed."""
    typed = text.lower().split()
    return [
        position
        for position, command in enumerate(COMMANDS)
        if all(word in f"{command.label} {command.kind} {command.words}".lower() for word in typed)
    ]
