"""Whose verb a word is: podman's on this machine, or crictl's at a CRI endpoint.

    rundlet VERB …            podman's
    rundlet cri VERB …        crictl's
    rundlet -r ENDPOINT VERB  crictl's; CONTAINER_RUNTIME_ENDPOINT and a runtime-endpoint in crictl.yaml say the same
    rundlet version, info     crictl's where a CRI runtime has its socket, else of this program

Some words are understood without that: verbs that only crictl has (`runp`, `pods`, …), options that only
crictl's verb has (`-o json`, `exec --sync`), and `create POD CONTAINER.json POD.json`.
"""

import os
from collections.abc import Sequence

CRI, LOCAL = "cri", "local"

# Options that tell crictl's verb from podman's, where both have it.
_CRI_OPTIONS = {
    "exec": ("-s", "--sync", "-x", "--parallel"),
    "logs": ("-p", "--previous", "-r", "--reopen", "--limit-bytes", "-s", "--stream"),
    "inspect": ("-o", "--output"),
    "images": ("-o", "--output"),
    "ps": ("-o", "--output"),
    "stats": ("-o", "--output"),
    "info": ("-o", "--output"),
    "version": ("-o", "--output"),
}
_OPERANDS_OF_OTHERS = ("exec",)  # what follows their first operand is a command of the container
_ASK_WHO_LISTENS = ("version", "info")
_CREATE_OPERANDS = 3


def choose_dialect(
    verb: str, arguments: Sequence[str], *, endpoint_named: bool, socket_there: bool = False
) -> str:
    """For a verb that both have; `arguments` follow it.  Pure."""
    if endpoint_named or (socket_there and verb in _ASK_WHO_LISTENS):
        return CRI
    if verb == "create":
        return CRI if _names_cri_files(arguments) else LOCAL
    options = _CRI_OPTIONS.get(verb, ())
    return CRI if any(_is_option(word, options) for word in _own_words(verb, arguments)) else LOCAL


def _names_cri_files(arguments: Sequence[str]) -> bool:
    operands = [word for word in arguments if not word.startswith("-")]
    return len(operands) == _CREATE_OPERANDS and all(
        word.endswith((".json", ".yaml", ".yml")) for word in operands[1:]
    )


def _own_words(verb: str, arguments: Sequence[str]) -> Sequence[str]:
    """Those that may be options of the verb."""
    for position, word in enumerate(arguments):
        if word == "--" or (verb in _OPERANDS_OF_OTHERS and not word.startswith("-")):
            return arguments[:position]
    return arguments


def _is_option(word: str, options: Sequence[str]) -> bool:
    name = word.partition("=")[0]
    return name in options or (len(word) > 1 and word[0] == "-" != word[1] and word[:2] in options)


def is_endpoint_named(option: str) -> bool:
    """By option, environment or crictl.yaml."""
    if option or os.environ.get("CONTAINER_RUNTIME_ENDPOINT"):
        return True
    path = os.environ.get("CRI_CONFIG_FILE") or "/etc/crictl.yaml"
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return any(
                line.startswith("runtime-endpoint:") and line.split(":", 1)[1].strip() for line in file
            )
    except OSError:
        return False
