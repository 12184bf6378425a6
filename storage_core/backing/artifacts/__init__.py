"""Where sealed backups lie: a folder, or a bucket of an object store."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from ...domain.errors import InvalidRequest
from ...ports.artifacts import Artifacts
from .local import LocalArtifacts

__all__ = ["LocalArtifacts", "store_from_url"]

_HINT = (
    "Use file:// and an absolute folder, e.g. file:///var/lib/storage-console, or s3:// and a bucket with a folder in"
    " it, e.g. s3://backups/console."
)


def store_from_url(url: str) -> Artifacts:
    """The store an address names: ``file:///absolute/folder`` or ``s3://bucket/folder``; InvalidRequest for any other."""
    parts = urlsplit(url)
    if parts.query or parts.fragment:
        raise InvalidRequest("The address of the artifacts store ends with more than its place.", hint=_HINT)
    match parts.scheme:
        case "file":
            path = Path(unquote(parts.path))
            if parts.netloc not in ("", "localhost") or not path.is_absolute():
                raise InvalidRequest(
                    "The address of the artifacts store is not an absolute folder here.", hint=_HINT
                )
            return LocalArtifacts(path)
        case "s3":
            if not parts.hostname or parts.netloc != parts.hostname:
                raise InvalidRequest("The address of the artifacts store names no bucket.", hint=_HINT)
            from .objects import ObjectArtifacts  # here: most homes have no object store

            return ObjectArtifacts(url)
        case other:
            raise InvalidRequest(
                f"There is no artifacts store for {other[:20] or 'no scheme'!r}.", hint=_HINT
            )
