"""Where master keys come from: the environment, a file, or the system keyring.

A file or a keyring entry is a small book: the key in use on the first line, then those that wait (``next``) or
were in use before (``former``). It is replaced as a whole, so that no crash leaves a key that is nowhere.
"""

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ...domain.errors import InvalidRequest, Locked, ToolMissing, WrongKey

if TYPE_CHECKING:
    from types import ModuleType

# The keyring library is imported where it is used: most homes keep their key in a file.

KEY_BYTES = 32
SERVICE = "storage-console"
_OUTSIDE = "Give the new key in its place and the present one as STORAGE_MASTER_KEY_PREVIOUS, start again, and repeat this."


def fingerprint(key: bytes) -> str:
    """The id of a master key; it tells nothing about the key."""
    return hashlib.blake2b(key, digest_size=6, person=b"sc-master-id").hexdigest()


@dataclass(frozen=True, slots=True)
class Book:
    """The keys at one place."""

    current: bytes
    next: bytes | None = None
    former: tuple[bytes, ...] = ()

    @property
    def keys(self) -> tuple[bytes, ...]:
        return tuple(dict.fromkeys(k for k in (self.current, self.next, *self.former) if k is not None))

    @property
    def text(self) -> str:
        lines = [self.current.hex()]
        lines += [] if self.next is None else [f"next {self.next.hex()}"]
        return "\n".join([*lines, *(f"former {key.hex()}" for key in self.former)]) + "\n"

    def promoted(self) -> "Book":
        return self if self.next is None else replace(self.led_by(self.next), next=None)

    def led_by(self, key: bytes) -> "Book":
        """The book with another key in use; the one that was is kept."""
        rest = tuple(k for k in dict.fromkeys((self.current, *self.former)) if k != key)
        return replace(self, current=key, former=rest)


def read_book(text: str, place: str) -> Book:
    """WrongKey unless the first line is a key and every other one a labelled key."""
    try:
        first, *rest = text.strip().splitlines()
        book = Book(_key(first.strip()))
        for line in rest:
            word, _, digits = line.strip().partition(" ")
            if word == "next":
                book = replace(book, next=_key(digits))
            elif word == "former":
                book = replace(book, former=(*book.former, _key(digits)))
            else:
                raise ValueError(word)
    except ValueError:
        raise WrongKey(f"{place} cannot be read as 64 hexadecimal digits.") from None
    return book


def _key(digits: str) -> bytes:
    key = bytes.fromhex(digits)
    if len(key) != KEY_BYTES:
        raise ValueError(len(key))
    return key


class Shelf(Protocol):
    """Keeps a book's text at one place, named by `place`."""

    place: str

    def load(self) -> str | None: ...

    def create(self, text: str) -> None:
        """Store it, unless somebody else was first."""
        ...

    def store(self, text: str) -> None:
        """Replace it at once and durably; InvalidRequest where it cannot be replaced."""
        ...


class GivenKeys:
    """Keys from the environment: `current`, and while rotating the `previous` one. Nothing can be changed here."""

    def __init__(self, current: bytes, previous: bytes | None) -> None:
        self._keys = tuple(dict.fromkeys(k for k in (current, previous) if k is not None))

    def read(self, *, first: bool = False) -> tuple[bytes, ...]:
        return self._keys

    def successor(self, present: bytes) -> bytes:
        if self._keys[0] == present:
            raise InvalidRequest("The master key comes from the environment.", hint=_OUTSIDE)
        return self._keys[0]

    def promote(self, key: bytes) -> str | None:
        return _leftover(len(self._keys) > 1)

    def discard(self, key: bytes) -> None:
        """The administrator's to do: `promote` says so."""

    def restore(self, key: bytes) -> str:
        raise InvalidRequest(
            "The master key comes from the environment.",
            hint="Take STORAGE_MASTER_KEY away first; the recovered key is then kept in the home.",
        )


class KeptKeys:
    """Keys in a book that we keep; `previous` is one more, given from outside. `make` answers fresh keys."""

    def __init__(
        self,
        shelf: Shelf,
        previous: bytes | None = None,
        *,
        may_make: bool = True,
        make: Callable[[], bytes] = lambda: os.urandom(KEY_BYTES),
    ) -> None:
        self._shelf, self._previous, self._may_make, self._make = shelf, previous, may_make, make

    def read(self, *, first: bool = False) -> tuple[bytes, ...]:
        text = self._shelf.load()
        if text is None and first and self._may_make:
            # Only while the catalog has no key yet: a missing key later on means locked, never a new one.
            self._shelf.create(Book(self._make()).text)
        extra = () if self._previous is None else (self._previous,)
        return tuple(dict.fromkeys((*self._book().keys, *extra)))

    def successor(self, present: bytes) -> bytes:
        book = self._book()
        if book.next == present:
            # It was promoted in the catalog, and the process ended before it was here.
            book = book.promoted()
            self._shelf.store(book.text)
        if book.current != present:
            return book.current  # the administrator put a new one in place and gave the present one beside it
        if book.next is not None:
            return book.next
        fresh = self._make()
        self._shelf.store(replace(book, next=fresh).text)
        return fresh

    def promote(self, key: bytes) -> str | None:
        book = self._book()
        if book.next == key:
            self._shelf.store(book.promoted().text)
        return _leftover(self._previous is not None)

    def discard(self, key: bytes) -> None:
        book = self._book()
        if key in book.former:
            self._shelf.store(replace(book, former=tuple(k for k in book.former if k != key)).text)

    def restore(self, key: bytes) -> str:
        text = self._shelf.load()
        if text is None:
            self._shelf.create(Book(key).text)
        try:
            book = self._book()
        except WrongKey:
            book = Book(key)  # what is there is no key
        if text is not None:
            self._shelf.store(book.led_by(key).text)
        return self._shelf.place

    def _book(self) -> Book:
        text = self._shelf.load()
        if text is None:
            raise WrongKey(f"{self._shelf.place} is missing, and the catalog was sealed with it.")
        return read_book(text, self._shelf.place)


def _leftover(given: bool) -> str | None:
    return "Take STORAGE_MASTER_KEY_PREVIOUS away, and start again." if given else None


class FileShelf:
    """A file of its owner's alone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.place = f"The key file {path}"

    def load(self) -> str | None:
        try:
            return self._path.read_text("ascii")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError):
            raise WrongKey(f"{self.place} cannot be read as 64 hexadecimal digits.") from None

    def create(self, text: str) -> None:
        with self._written(text) as fresh:
            try:
                os.link(fresh, self._path)  # fails where another process was first: its key stays
            except FileExistsError:
                pass
            finally:
                fresh.unlink()

    def store(self, text: str) -> None:
        try:
            with self._written(text) as fresh:
                fresh.replace(self._path)
        except OSError as error:
            raise InvalidRequest(
                f"{self.place} cannot be replaced: {error.strerror}.", hint=_OUTSIDE
            ) from error

    @contextmanager
    def _written(self, text: str) -> Iterator[Path]:
        """The text complete and durable under a name of its own; afterwards the folder is durable, too."""
        fresh = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        try:
            yield fresh
        finally:
            fresh.unlink(missing_ok=True)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)  # a key that a power cut takes away takes every backup with it
        finally:
            os.close(folder)


class KeyringShelf:
    """An entry of the system keyring; one for each home."""

    def __init__(self, home: Path) -> None:
        self._account = str(home.resolve())
        self.place = f"The system keyring's entry {SERVICE} {self._account}"

    def load(self) -> str | None:
        with self._keyring() as ring:
            found: str | None = ring.get_password(SERVICE, self._account)
            return found

    def create(self, text: str) -> None:
        if self.load() is None:
            self.store(text)

    def store(self, text: str) -> None:
        with self._keyring() as ring:
            ring.set_password(SERVICE, self._account, text)

    @contextmanager
    def _keyring(self) -> "Iterator[ModuleType]":
        import keyring
        from keyring import errors

        try:
            yield keyring
        except (errors.NoKeyringError, errors.InitError) as error:
            raise ToolMissing(
                "STORAGE_MASTER_KEY_SOURCE is keyring, and this machine has no system keyring.",
                hint="Start one (Secret Service, KWallet, a backend of the keyring library), or use a key file.",
            ) from error
        except (errors.KeyringError, OSError) as error:
            raise Locked(
                f"The system keyring does not answer: {type(error).__name__}.",
                hint="Unlock it, and start again.",
            ) from error


def master_keys(
    home: Path, source: str, given: str | None, file: Path | None, previous: str | None
) -> GivenKeys | KeptKeys:
    """The master keys a home is set to use. `source` is auto, environment, file or keyring."""
    before = None if previous is None else bytes.fromhex(previous)
    if source == "keyring":
        return KeptKeys(KeyringShelf(home), before)
    if given is not None and source in ("auto", "environment"):
        return GivenKeys(bytes.fromhex(given), before)
    return KeptKeys(FileShelf(file or home / "master.key"), before, may_make=file is None)
