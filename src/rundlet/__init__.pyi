"""The types of what `__init__.py` imports on first use."""

from rundlet.api.client import Client as Client
from rundlet.api.client import run as run
from rundlet.api.container import Container as Container
from rundlet.api.container import ExecFailed as ExecFailed
from rundlet.api.container import ExecResult as ExecResult
from rundlet.api.images import Image as Image
from rundlet.errors import AlreadyExists as AlreadyExists
from rundlet.errors import DeadlineExceeded as DeadlineExceeded
from rundlet.errors import Error as Error
from rundlet.errors import FailedPrecondition as FailedPrecondition
from rundlet.errors import InvalidArgument as InvalidArgument
from rundlet.errors import NotFound as NotFound
from rundlet.errors import PermissionDenied as PermissionDenied
from rundlet.errors import ResourceExhausted as ResourceExhausted
from rundlet.errors import Unavailable as Unavailable
from rundlet.local.options import HealthCheck as HealthCheck
from rundlet.sandbox.limits import Limits as Limits
from rundlet.sandbox.pool import SandboxPool as SandboxPool
from rundlet.sandbox.sandbox import Call as Call
from rundlet.sandbox.sandbox import Sandbox as Sandbox
from rundlet.sandbox.sandbox import Snapshot as Snapshot

__version__: str
__all__: list[str]
