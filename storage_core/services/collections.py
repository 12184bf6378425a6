"""A database's collections as its tenant's policy has them: counted against its quota, sealed and opened by its keys."""

from ..domain.database import Database
from ..domain.encryption import Encryption
from ..domain.errors import PolicyRefused, Unsupported, WrongKey
from ..domain.naming import said
from ..domain.record import Quota
from ..domain.tenant import Policy
from ..ports.collection import Collection, Collections
from ..ports.engine import Engine
from .kernel import Kernel, opened


def collections_of(engine: Engine) -> Collections:
    """The engine's collections; Unsupported where it keeps none."""
    if engine.collections is None:
        raise Unsupported(f"{engine.kind} keeps no collections.")
    return engine.collections


def quota_of(policy: Policy) -> Quota | None:
    """What a tenant's database may hold; none where nothing is limited, so that nothing is counted."""
    limited = policy.documents is not None or policy.bytes is not None
    return Quota(policy.documents, policy.bytes) if limited else None


async def collection_of(kernel: Kernel, database: Database, engine: Engine, name: str) -> Collection:
    """A collection of a database, as its tenant's policy has it."""
    policy = await policy_of(kernel, database)
    plain = collections_of(engine).collection(database.physical_name, name, quota_of(policy))
    return await sealed(kernel, database, policy, name, plain)


async def policy_of(kernel: Kernel, database: Database) -> Policy:
    async with kernel.catalog.read() as uow:
        tenant = None if database.tenant_id is None else await uow.tenants.get(database.tenant_id)
    return Policy() if tenant is None else tenant.policy


async def sealed(
    kernel: Kernel, database: Database, policy: Policy, name: str, plain: Collection
) -> Collection:
    """The collection behind its encryption, if it was declared encrypted; refused where the policy demands that."""
    found: Encryption | None = None

    async def read() -> Encryption | None:
        nonlocal found
        async with kernel.catalog.read() as uow:
            found = await uow.encryptions.one(database_id=database.id, collection=name)
        return found

    key = await opened(kernel.vault, read)
    if found is None:
        if policy.encryption:
            raise PolicyRefused(
                f"The tenant's policy keeps documents encrypted, and the collection {said(name)} is not.",
                field="collection",
                hint="Declare it first: databases.encrypt, or storage.encrypt(…).",
            )
        return plain
    if key is None:
        raise WrongKey(f"The key of the collection {said(name)} is gone.")
    return kernel.encrypted(plain, found, key)
