"""Where somebody goes on to after signing in."""


def local_path(path: str | None) -> str:
    """Only a path of our own, never another site: browsers read `\\` as `/`, skip control characters and resolve dots."""
    if not path or not path.startswith("/") or "//" in path.partition("?")[0] or "\\" in path:
        return "/"
    return path if path.isprintable() else "/"
