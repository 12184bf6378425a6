"""A private MongoDB: a replica set of one with passwords, TCP on loopback only, little memory and disk."""

import base64
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...domain.errors import EngineFailure
from .binaries import HOST, login_of, program
from .files import Kept, write_private

if TYPE_CHECKING:
    from pymongo import MongoClient

# The driver is imported where it is used: most commands never meet a private MongoDB.

Document = dict[str, Any]

AUTHENTICATION_FAILED, ALREADY_INITIALIZED, NOT_YET_INITIALIZED = 18, 23, 94


class PrivateMongo:
    kind = "mongodb"
    user = "root"
    database = "admin"
    replica_set: str | None = "rs0"
    stop_signal = "TERM"

    def __init__(self, durable: bool) -> None:
        self._durable = durable

    def prepare(self, place: Path) -> None:
        if not (place / "keyfile").exists():
            # members of a replica set sign in to each other with it
            write_private(place / "keyfile", base64.b64encode(secrets.token_bytes(96)).decode())
        (place / "data").mkdir(mode=0o700, exist_ok=True)

    def command(self, place: Path, port: int) -> list[str]:
        mongod = program("fiftyone", "db/bin/mongod", "MongoDB")
        options = {
            "--dbpath": str(place / "data"),
            "--bind_ip": HOST,
            "--port": str(port),
            "--replSet": str(self.replica_set),
            "--keyFile": str(place / "keyfile"),
            "--oplogSize": "64",
            "--wiredTigerCacheSizeGB": "0.25",
            "--wiredTigerEngineConfigString": "log=(prealloc=false,file_max=16MB)",
        }
        parameters = ("diagnosticDataCollectionEnabled=false", "shutdownTimeoutMillisForSignaledShutdown=100")
        return [
            *(str(mongod), "--auth", "--nounixsocket", "--quiet"),
            *(part for pair in options.items() for part in pair),
            *(part for parameter in parameters for part in ("--setParameter", parameter)),
        ]

    def clear(self, place: Path) -> None:
        """Nothing to do: mongod recognises a stale ``mongod.lock`` by itself."""

    def ready(self, place: Path, port: int, kept: Kept) -> bool:
        from pymongo.errors import ConnectionFailure, OperationFailure

        user, password = login_of(place, self.user)
        try:
            with _client(port, username=user, password=password) as client:
                return self._settled(client, port)
        except OperationFailure as error:
            if error.code == AUTHENTICATION_FAILED:
                return self._make_user(port, password)
            if error.code == NOT_YET_INITIALIZED:
                return False  # it is still reading its configuration
            raise EngineFailure(f"The private MongoDB cannot be set up: {error.details}") from error
        except ConnectionFailure:
            return False

    def _settled(self, client: "MongoClient[Document]", port: int) -> bool:
        """Whether the set has its primary; names the member anew when its port has changed.

        Then mongod looks for itself at the old port first, and waits 30 s for a stranger there who never answers.
        """
        admin = client.admin
        config = admin.command("replSetGetConfig")["config"]
        member = f"{HOST}:{port}"
        if config["members"][0]["host"] != member:
            config["members"][0]["host"] = member
            config["version"] += 1
            admin.command("replSetReconfig", config, force=True)
        return bool(admin.command("hello")["isWritablePrimary"])

    def _make_user(self, port: int, password: str) -> bool:
        """The first start: begin the set, then make the root user; both are open to loopback until one exists.

        A stranger on this machine who came first has closed that door, and the set-up fails.
        """
        from pymongo.errors import ConnectionFailure, OperationFailure

        try:
            with _client(port) as client:
                self._initiate(client, port)
                if not client.admin.command("hello")["isWritablePrimary"]:
                    return False
                client.admin.command("createUser", self.user, pwd=password, roles=["root"])
        except ConnectionFailure:
            return False
        except OperationFailure as error:
            raise EngineFailure(
                f"The private MongoDB does not know its password: {error.details}",
                hint="Its data does not belong to its password file; start another server under a new name.",
            ) from error
        return False  # the next look signs in

    def _initiate(self, client: "MongoClient[Document]", port: int) -> None:
        from pymongo.errors import OperationFailure

        config = {
            "_id": self.replica_set,
            "members": [{"_id": 0, "host": f"{HOST}:{port}"}],
            "writeConcernMajorityJournalDefault": self._durable,
        }
        try:
            client.admin.command("replSetInitiate", config)
        except OperationFailure as error:
            if error.code != ALREADY_INITIALIZED:
                raise


def _client(port: int, username: str | None = None, password: str | None = None) -> "MongoClient[Document]":
    from pymongo import MongoClient

    return MongoClient(
        HOST,
        port,
        directConnection=True,
        serverSelectionTimeoutMS=500,
        connectTimeoutMS=2000,
        username=username,
        password=password,
    )
