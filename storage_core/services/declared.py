"""Everything people can do, known without opening a core: doors are built from this list."""

from .audits import Audits
from .backups import Backups
from .databases import Databases
from .engines import PrivateEngines
from .jobs import Jobs
from .operation import declared
from .preferences import Filters, PersonalPreferences
from .providers import Providers
from .tenants import Tenants
from .users import Sessions, Tokens, Users

OPERATIONS = declared(
    Tenants,
    Providers,
    Databases,
    Backups,
    Jobs,
    Users,
    Tokens,
    Sessions,
    Audits,
    PrivateEngines,
    Filters,
    PersonalPreferences,
)
