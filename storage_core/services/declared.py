"""Everything people can do, known without opening a core: doors are built from this list."""

from .approvals import Approvals
from .audits import Audits
from .backups import Backups
from .configuration import Configuration
from .databases import Databases
from .engines import PrivateEngines
from .jobs import Jobs
from .operation import declared
from .preferences import Filters, PersonalPreferences
from .providers import Providers
from .tenants import Tenants
from .users import Grants, Sessions, Tokens, Users

OPERATIONS = declared(
    Tenants,
    Providers,
    Databases,
    Backups,
    Jobs,
    Users,
<<<<<<< HEAD
    Tokens,
    Sessions,
    Audits,
    PrivateEngines,
    Filters,
    PersonalPreferences,
=======
    Grants,
    Tokens,
    Sessions,
    Approvals,
    Audits,
    Configuration,
    PrivateEngines,
>>>>>>> 1538531 (Options, approvals and the two-person rule)
)
