"""What of rundlet is public: what the reference shows, and what must have docstrings.

Everything else may change from one version to the next.
"""

from typing import NamedTuple


class PublicModule(NamedTuple):
    """`names` are its public ones; all that are defined in it and begin with no underscore when there are none."""

    module: str
    title: str
    names: tuple[str, ...] = ()


PUBLIC = (
    PublicModule("rundlet.api.client", "Client and run", ("Client", "run")),
    PublicModule("rundlet.api.container", "Containers"),
    PublicModule("rundlet.api.images", "Images"),
    PublicModule("rundlet.sandbox.sandbox", "Sandboxes"),
    PublicModule("rundlet.sandbox.limits", "Limits of sandboxes"),
    PublicModule("rundlet.sandbox.pool", "Pools of sandboxes"),
    PublicModule("rundlet.aio", "asyncio"),
    PublicModule("rundlet.pytest", "pytest fixtures"),
    PublicModule("rundlet.errors", "Errors"),
    PublicModule("rundlet.local.options", "Options of containers and pods"),
    PublicModule("rundlet.local.machine", "The machine", ("Machine",)),
    PublicModule("rundlet.local.containers", "The machine's containers", ("Containers",)),
    PublicModule("rundlet.local.pods", "The machine's pods", ("Pods", "Pod")),
    PublicModule("rundlet.local.networks", "The machine's networks", ("Networks", "NetworkInfo")),
    PublicModule("rundlet.local.volumes", "The machine's volumes", ("Volumes", "Volume", "VolumeRequest")),
    PublicModule("rundlet.local.secrets", "The machine's secrets", ("Secrets", "Secret")),
    PublicModule("rundlet.local.status", "What is told of a container"),
    PublicModule("rundlet.engine.engine", "The engine", ("Engine",)),
    PublicModule("rundlet.engine.options", "What the engine is asked"),
    PublicModule("rundlet.engine.status", "What the engine tells"),
    PublicModule("rundlet.cri.client", "A client for any CRI runtime"),
)
