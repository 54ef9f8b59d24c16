"""rundlet: a complete OCI container stack in Python.

    import rundlet

    with rundlet.run("redis:alpine", ports={6379: 0}, memory="256m") as container:
        container.wait_for_port(6379)
        print(container.exec(["redis-cli", "ping"]).stdout)

What stands in `__all__` is imported when it is first used: `import rundlet` alone costs nothing.
Checkers find the types in `__init__.pyi`.
"""

__version__ = "0.1.0"

__all__ = [
    "AlreadyExists",
    "Call",
    "Client",
    "Container",
    "DeadlineExceeded",
    "Error",
    "ExecFailed",
    "ExecResult",
    "FailedPrecondition",
    "HealthCheck",
    "Image",
    "InvalidArgument",
    "Limits",
    "NotFound",
    "PermissionDenied",
    "ResourceExhausted",
    "Sandbox",
    "SandboxPool",
    "Snapshot",
    "Unavailable",
    "run",
]

_PLACES = {
    "rundlet.api.client": ("Client", "run"),
    "rundlet.api.container": ("Container", "ExecFailed", "ExecResult"),
    "rundlet.api.images": ("Image",),
    "rundlet.local.options": ("HealthCheck",),
    "rundlet.sandbox.limits": ("Limits",),
    "rundlet.sandbox.pool": ("SandboxPool",),
    "rundlet.sandbox.sandbox": ("Call", "Sandbox", "Snapshot"),
}
_MODULES = {name: module for module, names in _PLACES.items() for name in names}


def __getattr__(name: str) -> object:
    """PEP 562."""
    if name not in __all__:
        raise AttributeError(f"module 'rundlet' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_MODULES.get(name, "rundlet.errors")), name)


def __dir__() -> list[str]:
    return sorted((*__all__, "__version__"))
