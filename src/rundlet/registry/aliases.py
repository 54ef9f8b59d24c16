"""Short names that somebody has chosen a registry for, kept where podman keeps them (containers-registries.conf(5)).

short-name-aliases.conf
[aliases]
  "app" = "registry.example/team/app"
"""

import fcntl
import json
import os

from rundlet.kernel.failure import translating
from rundlet.registry.conffiles import read_text
from rundlet.spec.reference import Reference
from rundlet.spec.registries import parse_registries


def record_alias(path: str, short_name: str, target: Reference) -> None:
    """Have `short_name` (without a tag) mean `target`'s repository from now on; other aliases stay.

    Raises InvalidArgument (the file is malformed), PermissionDenied and the like.
    """
    with translating(f"record an alias in {path}"):
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        with open(f"{path}.lock", "wb") as lock:  # podman's, too
            fcntl.flock(lock, fcntl.LOCK_EX)
            text = read_text(path)
            known = dict(parse_registries(text, path, drop_in=True).aliases) if text else {}
            known[short_name] = target.name
            lines = [f"  {json.dumps(name)} = {json.dumps(known[name])}\n" for name in sorted(known)]
            draft = f"{path}.{os.getpid()}.new"
            with open(draft, "w", encoding="utf-8") as file:
                file.write("".join(("[aliases]\n", *lines)))
            os.rename(draft, path)
