"""The archive's members, laid out as mongodump does: `<collection>.metadata.json`, then `<collection>.bson`.

Beside mongodump's fields the metadata carries `storageConsole`: the same options and indexes as BSON. Extended
JSON alone cannot tell the operator `{"$regex": …}` in a validator from a regular expression, so a restore reads
the exact form; mongorestore ignores the extra field.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import bson
from bson import json_util
from bson.codec_options import CodecOptions, DatetimeConversion

from ...domain.errors import DamagedArtifact

PRELUDE = "prelude.json"
DATA = ".bson"
METADATA = ".metadata.json"
BUCKETS = "system.buckets."
#: mongodump shortens names whose escaped form would make too long a file name.
LONGEST, KEPT = 238, 208

#: Definitions keep every type they can: dates out of Python's range stay as they are.
EXACT: CodecOptions[dict[str, Any]] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_AUTO)


@dataclass(frozen=True, slots=True)
class Definition:
    """A collection or view as defined. `kind`: collection, capped, timeseries or view; `uuid` of its data."""

    name: str
    kind: str
    options: Mapping[str, Any]
    indexes: tuple[Mapping[str, Any], ...] = ()
    uuid: bytes | None = None

    @property
    def data(self) -> str:
        """The collection that holds the documents: a time series keeps them in buckets."""
        return BUCKETS + self.name if self.kind == "timeseries" else self.name


def kind_of(type_name: str, options: Mapping[str, Any]) -> str:
    """The kind of an entry of listCollections."""
    return "capped" if options.get("capped") else type_name


def escaped(name: str) -> str:
    """A collection's name as mongodump writes it in file names."""
    out = quote(name, safe="$&+=:@")
    if len(out) <= LONGEST:
        return out
    return (
        out[:KEPT]
        + "%24"
        + base64.urlsafe_b64encode(hashlib.sha1(name.encode(), usedforsecurity=False).digest()).decode()
    )


def metadata_member(name: str) -> str:
    return escaped(name) + METADATA


def data_member(definition: Definition) -> str:
    return escaped(definition.data) + DATA


def prelude(version: str) -> bytes:
    return json.dumps({"ServerVersion": version, "ToolVersion": "storage-console mongodb/1"}).encode()


def metadata(definition: Definition) -> bytes:
    """The metadata file of a collection or view."""
    body: dict[str, Any] = {
        "options": definition.options,
        "indexes": list(definition.indexes),
        "uuid": definition.uuid.hex() if definition.uuid else "",
        "collectionName": definition.name,
        "type": "collection" if definition.kind == "capped" else definition.kind,
    }
    exact = bson.encode(
        {"options": definition.options, "indexes": list(definition.indexes)}, codec_options=EXACT
    )
    body["storageConsole"] = base64.b64encode(exact).decode()
    return json_util.dumps(body, json_options=json_util.CANONICAL_JSON_OPTIONS).encode()


def read_metadata(member: str, raw: bytes) -> Definition:
    """A metadata file read back; DamagedArtifact when it is not one, or not this member's."""
    try:
        body = json.loads(raw)
        exact = bson.decode(base64.b64decode(body["storageConsole"], validate=True), codec_options=EXACT)
        options, indexes = exact["options"], tuple(exact["indexes"])
        found = Definition(body["collectionName"], kind_of(body["type"], options), options, indexes)
    except (ValueError, KeyError, TypeError, bson.errors.BSONError) as error:
        raise DamagedArtifact(f"The member {member[:100]} is not a collection's metadata.") from error
    if member != metadata_member(found.name):
        raise DamagedArtifact(f"The member {member[:100]} describes another collection.")
    return found
