"""A collection whose documents are sealed before an engine sees them.

A sealed value stands where the plain one stood, as ``{"sealed": text}``, with ``"blind"`` beside it where the field is
searchable; a whole document is ``{"sealed": text, "blind": [one for each searchable field]}``. Null and what is
absent stay as they are. AES-256-GCM with random 96-bit nonces (NIST SP 800-38D) under the collection's data key, the
value's place as associated data; a blind index is HMAC-SHA-256 of the value, cut to 128 bits: equal values of a
field are seen to be equal, nothing else.
"""

import base64
import hmac
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..domain.encryption import Encryption
from ..domain.errors import InvalidRequest, NotFound, StorageError, Unsupported, VersionConflict, WrongKey
from ..domain.patch import patched
from ..domain.query import (
    All,
    Any_,
    Compare,
    Exists,
    Member,
    Node,
    Not,
    Op,
    Path,
    Regex,
    Scalar,
    Text,
    projected,
    value_at,
)
from ..domain.record import Find, Index, Outcome, Row, Write
from ..domain.secret import Binding, associated_data
from ..ports.collection import Collection

FORM = "v1"
SEALED, BLIND = "sealed", "blind"
NONCE, DIGEST = 12, 16
WHOLE = "*"
#: How often a document that others change at the same moment is read again.
RACES = 20
_ABSENT = object()


class Cipher:
    """Seals and opens the values of one collection with its data key of 32 bytes."""

    def __init__(self, encryption: Encryption, key: bytes) -> None:
        self._tenant, self._origin = encryption.tenant_id, encryption.origin
        self._seal = AESGCM(hmac.digest(key, b"storage-core collection seal v1", sha256))
        self._blind = hmac.digest(key, b"storage-core collection blind v1", sha256)

    def seal(self, id: str, field: str, value: Any) -> str:
        nonce = os.urandom(NONCE)
        sealed = self._seal.encrypt(nonce, orjson.dumps(value), self._place(id, field))
        return f"{FORM}.{base64.b64encode(nonce + sealed).decode()}"

    def open(self, id: str, field: str, text: Any) -> Any:
        """The value; WrongKey when it was changed, moved, or sealed with another key."""
        try:
            form, _, body = text.partition(".")
            raw = base64.b64decode(body, validate=True)
            if form != FORM:
                raise ValueError(form)
            return orjson.loads(self._seal.decrypt(raw[:NONCE], raw[NONCE:], self._place(id, field)))
        except (InvalidTag, ValueError, AttributeError):
            raise WrongKey(
                f"{field} of the document {id!r} cannot be opened: it was changed or moved."
            ) from None

    def blind(self, field: str, kind: str, value: Scalar) -> str:
        if isinstance(value, float):
            value = int(value) if value == int(value) else value
        said = f"{field}|{kind}|{type(value).__name__}|{value}"
        return base64.b64encode(hmac.digest(self._blind, said.encode(), sha256)[:DIGEST]).decode()

    def blind_of(self, field: str, value: Any) -> str | None:
        """A stored value's index; none for null."""
        kind = ""
        if isinstance(value, dict) and value and (tag := next(iter(value))).startswith("$"):
            kind, value = tag, value[tag]
        if value is None:
            return None
        if isinstance(value, str | int | float):
            return self.blind(field, kind, value)
        return self.blind(field, "json", orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode())

    def _place(self, id: str, field: str) -> bytes:
        return associated_data(Binding(self._tenant, "documents", id, field), self._origin, FORM)


class Encrypted:
    """The collection port over another one; see `Encryption` for what is sealed."""

    def __init__(self, inner: Collection, encryption: Encryption, cipher: Cipher) -> None:
        self._inner, self._cipher = inner, cipher
        self._fields = {tuple(field.split(".")): field for field in encryption.fields}
        self._searchable = {tuple(field.split(".")): i for i, field in enumerate(encryption.searchable)}

    async def insert(self, id: str, body: Mapping[str, Any], at: datetime, *, tagged: bool = False) -> None:
        await self._inner.insert(id, self._sealed(id, body), at, tagged=tagged)

    async def get(self, id: str) -> Row | None:
        row = await self._inner.get(id)
        return None if row is None else self._opened(row)

    async def replace(
        self,
        id: str,
        body: Mapping[str, Any],
        at: datetime,
        *,
        version: int | None = None,
        tagged: bool = False,
    ) -> Row:
        sealed = self._sealed(id, body)
        return self._opened(await self._inner.replace(id, sealed, at, version=version, tagged=tagged))

    async def patch(
        self,
        id: str,
        changes: Mapping[Path, Any],
        at: datetime,
        *,
        unset: Sequence[Path] = (),
        version: int | None = None,
        tagged: bool = False,
    ) -> Row:
        if self._in_place(changes, unset):
            sealed = {path: self._sealed_below(id, path, value) for path, value in changes.items()}
            row = await self._inner.patch(id, sealed, at, unset=unset, version=version, tagged=tagged)
            return self._opened(row)
        for _ in range(RACES):
            row = await self._read(id, version)
            body = patched(row.body, changes, unset)
            try:
                return await self.replace(id, body, at, version=row.version, tagged=tagged or row.tagged)
            except VersionConflict:
                if version is not None:
                    raise
        raise VersionConflict(f"The document {id!r} is being changed again and again.")

    async def delete(self, id: str, *, version: int | None = None) -> None:
        await self._inner.delete(id, version=version)

    async def insert_many(self, writes: Sequence[Write], at: datetime) -> list[Outcome]:
        return await self._inner.insert_many([self._sealed_write(write) for write in writes], at)

    async def change_many(self, writes: Sequence[Write], at: datetime) -> list[Outcome]:
        if all(write.changes is None or self._in_place(write.changes, write.unset) for write in writes):
            return await self._inner.change_many([self._sealed_write(write) for write in writes], at)
        return [await self._change(write, at) for write in writes]

    async def find(self, find: Find) -> list[Row]:
        for key in find.sort:
            if key.path is not None and self._touches(key.path):
                raise Unsupported(
                    f"{'.'.join(key.path)} is encrypted and has no order.",
                    field="sort",
                    hint="Sort by another field.",
                )
        fields = find.fields
        here = fields is not None and any(self._touches(path) for path in fields)
        asked = replace(find, where=self._where(find.where), fields=None if here else fields)
        rows = [self._opened(row) for row in await self._inner.find(asked)]
        if here and fields is not None:
            for row in rows:
                row.body = projected(row.body, fields)
        return rows

    async def count(self, where: Node | None) -> int:
        return await self._inner.count(self._where(where))

    async def create_index(self, index: Index) -> None:
        await self._inner.create_index(replace(index, paths=tuple(map(self._indexed, index.paths))))

    async def indexes(self) -> tuple[Index, ...]:
        back = {self._indexed(path): path for path in self._searchable}
        found = await self._inner.indexes()
        return tuple(replace(i, paths=tuple(back.get(path, path) for path in i.paths)) for i in found)

    async def drop_index(self, name: str) -> None:
        await self._inner.drop_index(name)

    async def _read(self, id: str, version: int | None) -> Row:
        row = await self.get(id)
        if row is None:
            raise NotFound(f"There is no document {id!r}.", field="id")
        if version is not None and row.version != version:
            raise VersionConflict(f"The document {id!r} is at version {row.version}, not {version}.")
        return row

    async def _change(self, write: Write, at: datetime) -> Outcome:
        try:
            if write.changes is not None and not self._in_place(write.changes, write.unset):
                row = await self.patch(
                    write.id, write.changes, at, unset=write.unset, version=write.version, tagged=write.tagged
                )
                return Outcome(write.id, row.version)
            return (await self._inner.change_many([self._sealed_write(write)], at))[0]
        except StorageError as error:
            return Outcome(write.id, error=error)

    def _sealed_write(self, write: Write) -> Write:
        if write.body is not None:
            return replace(write, body=self._sealed(write.id, write.body))
        if write.changes is None:
            return write
        changes = {path: self._sealed_below(write.id, path, v) for path, v in write.changes.items()}
        return replace(write, changes=changes)

    def _sealed(self, id: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        if self._fields:
            for path, field in self._fields.items():
                body = self._seal_at(id, body, path, field, path)
            return body
        blinds = [self._cipher.blind_of(".".join(p), value_at(body, p)) for p in self._searchable]
        sealed = self._cipher.seal(id, WHOLE, body)
        return {SEALED: sealed, BLIND: blinds} if blinds else {SEALED: sealed}

    def _sealed_below(self, id: str, path: Path, value: Any) -> Any:
        """A value that is to be set at a path, with what of it belongs to sealed fields sealed."""
        for whole, field in self._fields.items():
            if whole == path:
                return self._value(id, whole, field, value)
            if whole[: len(path)] == path:
                value = self._seal_at(id, value, whole[len(path) :], field, whole)
        return value

    def _seal_at(self, id: str, node: Any, rest: Path, field: str, whole: Path) -> Any:
        if node is None:
            return None
        if not isinstance(node, dict):
            raise InvalidRequest(
                f"{field} is encrypted, and what should hold it is no dictionary.",
                field=field,
                hint="Keep the same form in every document of an encrypted collection.",
            )
        found = node.get(rest[0], _ABSENT)
        if found is _ABSENT:
            return node
        if len(rest) == 1:
            return {**node, rest[0]: self._value(id, whole, field, found)}
        return {**node, rest[0]: self._seal_at(id, found, rest[1:], field, whole)}

    def _value(self, id: str, path: Path, field: str, value: Any) -> Any:
        if value is None:
            return None
        sealed = {SEALED: self._cipher.seal(id, field, value)}
        blind = self._cipher.blind_of(field, value) if path in self._searchable else None
        return sealed if blind is None else {**sealed, BLIND: blind}

    def _opened(self, row: Row) -> Row:
        if not self._fields:
            row.body = self._cipher.open(row.id, WHOLE, row.body.get(SEALED))
            return row
        for path, field in self._fields.items():
            found = value_at(row.body, path)
            if found is not None:
                text = found.get(SEALED) if isinstance(found, dict) else None
                row.body = patched(row.body, {path: self._cipher.open(row.id, field, text)})
        return row

    def _in_place(self, changes: Mapping[Path, Any], unset: Sequence[Path]) -> bool:
        """Whether a patch leaves every sealed value whole: it can be done without reading."""
        inside = (
            path for path in (*changes, *unset) if any(path[: len(f)] == f != path for f in self._fields)
        )
        return bool(self._fields) and next(inside, None) is None

    def _touches(self, path: Path) -> bool:
        return not self._fields or any(path[: len(f)] == f or f[: len(path)] == path for f in self._fields)

    def _where(self, node: Node | None) -> Node | None:
        match node:
            case All(nodes):
                return All(tuple(found for n in nodes if (found := self._where(n)) is not None))
            case Any_(nodes):
                return Any_(tuple(found for n in nodes if (found := self._where(n)) is not None))
            case Not(inner):
                found = self._where(inner)
                return None if found is None else Not(found)
            case Compare(path, Op.EQ, value) if self._touches(path):
                return self._equal(path, value)
            case Member(path, values) if self._touches(path):
                return Any_(tuple(self._equal(path, value) for value in values))
            case Exists(path) if self._fields and path in self._fields:
                return node
            case Compare(path) | Exists(path) | Regex(path) if self._touches(path):
                raise self._hidden(path)
            case Text():
                raise Unsupported(
                    "Encrypted documents have no words to find.", field="where", hint="Ask by fields."
                )
            case _:
                return node

    def _equal(self, path: Path, value: Scalar) -> Node:
        tag = path[-1] if path[-1].startswith("$") else ""
        field = path[:-1] if tag else path
        if value is None and field in self._fields:
            return Compare(field, Op.EQ, None)
        if field not in self._searchable:
            raise self._hidden(field)
        at = self._indexed(field)
        return Compare(at, Op.EQ, None if value is None else self._cipher.blind(".".join(field), tag, value))

    def _indexed(self, path: Path) -> Path:
        """Where the engine finds what stands for a path in its indexes."""
        if path in self._searchable:
            return (*path, BLIND) if self._fields else (BLIND, str(self._searchable[path]))
        if self._touches(path):
            raise self._hidden(path)
        return path

    def _hidden(self, path: Path) -> Unsupported:
        return Unsupported(
            f"{'.'.join(path)} is encrypted.",
            field=".".join(path),
            hint="Only fields that were declared searchable can be asked for, by $eq, $ne, $in and $nin.",
        )


def encrypted(plain: Collection, encryption: Encryption, key: bytes) -> Collection:
    """See the seals port."""
    return Encrypted(plain, encryption, Cipher(encryption, key))
