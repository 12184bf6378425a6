"""Everything people can do, known without opening a core: doors are built from this list."""

from .approvals import Approvals
from .audits import Audits
from .backups import Backups
from .configuration import Configuration
from .credentials import Credentials
from .databases import Databases
from .encryptions import Encryptions
from .engines import PrivateEngines
from .grants import Grants
from .holds import Holds
from .jobs import Jobs
from .leases import Leases
from .notifications import Notifications
from .operation import declared
from .preferences import Filters, PersonalPreferences
from .programs import Programs
from .providers import Providers
from .records import Records
from .schedules import Schedules
from .secrets import Secrets
from .sessions import Sessions
from .tenants import Tenants
from .tokens import Tokens
from .users import Users

OPERATIONS = declared(
    Tenants,
    Providers,
    Databases,
    Encryptions,
    Leases,
    Programs,
    Records,
    Backups,
    Schedules,
    Holds,
    Jobs,
    Users,
    Grants,
    Tokens,
    Sessions,
    Notifications,
    Approvals,
    Audits,
    Configuration,
    PrivateEngines,
    Filters,
    PersonalPreferences,
    Secrets,
    Credentials,
)
