"""What the commands that copy have in common: their options, signers, and a copy as it is shown."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from rundlet.cli.duration import DURATION
from rundlet.cli.image_options import chosen_platform, split_list
from rundlet.cli.image_progress import tell, watching
from rundlet.errors import InvalidArgument
from rundlet.image.api import copy_image, describe_copy
from rundlet.image.copy import CopyResult, Signer
from rundlet.image.location import Location
from rundlet.image.place import Access, Host
from rundlet.image.plan import FORMATS, CopyOptions, Instances, Packing, check_packing
from rundlet.image.transport import Document
from rundlet.spec.descriptor import parse_platform
from rundlet.spec.reference import Reference, parse_reference

if TYPE_CHECKING:
    from rundlet.spec.signingparams import SigningParameters

Command = TypeVar("Command", bound=Callable[..., Any])


class Job(NamedTuple):
    """One copy of a command line, and how it is shown."""

    source: Location
    destination: Location
    options: CopyOptions = CopyOptions()
    source_access: Access = Access()
    destination_access: Access = Access()
    tags: tuple[str, ...] = ()
    accept_plain: bool = False
    retry_times: int = 0
    retry_delay_s: float = 0.0
    sign: Signer | None = None
    quiet: bool = False
    progress: str = "auto"
    dry_run: bool = False


_OPTIONS: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (("-a", "--all"), {"is_flag": True, "help": "Copy all images of an index."}),
    (
        ("--multi-arch",),
        {
            "metavar": "CHOICE",
            "default": "",
            "help": "Which images of an index: system, all, index-only, or platforms as OS/ARCH,…",
        },
    ),
    (
        ("--platform", "platforms"),
        {"multiple": True, "metavar": "OS/ARCH[/VARIANT]", "help": "Copy the images for these platforms."},
    ),
    (
        ("-f", "--format"),
        {"type": click.Choice(["oci", "v2s2", "v2s1"]), "help": "Type of the manifest at the destination."},
    ),
    (("--preserve-digests",), {"is_flag": True, "help": "Fail rather than change a digest."}),
    (("--remove-signatures",), {"is_flag": True, "help": "Do not copy signatures."}),
    (("--with-referrers",), {"is_flag": True, "help": "Copy what refers to the image, too."}),
    (("--sign-by",), {"default": "", "metavar": "FINGERPRINT", "help": "Sign by this GPG key."}),
    (
        ("--sign-by-sigstore-private-key",),
        {"default": "", "metavar": "FILE", "help": "Sign by this sigstore key."},
    ),
    (
        ("--sign-by-sigstore",),
        {"default": "", "metavar": "FILE", "help": "Sign as these sigstore parameters (YAML) say."},
    ),
    (("--sign-passphrase-file",), {"default": "", "metavar": "FILE", "help": "The key's passphrase."}),
    (("--sign-identity",), {"default": "", "metavar": "NAME", "help": "What the signature calls the image."}),
    (("--retry-times",), {"type": click.IntRange(min=0), "default": 0, "help": "Further attempts."}),
    (("--retry-delay",), {"type": DURATION, "default": 0.0, "help": "Pause between attempts."}),
    (
        ("--image-parallel-copies",),
        {"type": click.IntRange(min=0), "default": 0, "help": "Blobs at a time (6)."},
    ),
    (("-q", "--quiet"), {"is_flag": True, "help": "Print nothing but errors."}),
    (
        ("--progress",),
        {"type": click.Choice(["auto", "bars", "plain", "json"]), "default": "auto", "help": "How to tell."},
    ),
    (("--dry-run",), {"is_flag": True, "help": "Say what would be done, and change nothing."}),
    (("--digestfile",), {"default": "", "metavar": "FILE", "help": "Write the image's digest there."}),
)


def copying_options(command: Command) -> Command:
    """The options of every command that copies; see `read_options`."""
    for names, settings in reversed(_OPTIONS):
        command = click.option(*names, **settings)(command)
    return command


def read_options(given: dict[str, Any]) -> CopyOptions:
    """The values of `copying_options` that say what is copied, taken out of `given`."""
    instances, platforms = _read_instances(
        given.pop("all"), given.pop("multi_arch"), split_list(given.pop("platforms"))
    )
    chosen = given.pop("format") or ""
    if chosen == "v2s1":
        raise InvalidArgument(
            "--format v2s1: schema 1 is read, not written: it is deprecated, and registries refuse it",
            hint="use v2s2",
        )
    return CopyOptions(
        format=FORMATS.get(chosen, ""),
        preserve_digests=given.pop("preserve_digests"),
        instances=instances,
        platform=chosen_platform(),
        platforms=tuple(map(parse_platform, platforms)),
        remove_signatures=given.pop("remove_signatures"),
        with_referrers=given.pop("with_referrers"),
        parallel=given.pop("image_parallel_copies") or CopyOptions().parallel,
    )


def _read_instances(every: bool, choice: str, platforms: Sequence[str]) -> tuple[Instances, Sequence[str]]:
    if sum(map(bool, (every, choice, platforms))) > 1:
        raise InvalidArgument("--all, --multi-arch and --platform exclude each other")
    if choice == "index-only":
        return "index-only", ()
    if every or choice == "all":
        return "all", ()
    return "system", platforms or (split_list((choice,)) if choice not in ("", "system") else ())


def read_packing(compress: bool, decompress: bool, name: str, level: int) -> Packing | None:
    """What --dest-compress and its kin ask layers to be, None for what they are."""
    if decompress and (compress or name):
        raise InvalidArgument("--dest-decompress and --dest-compress exclude each other")
    if decompress:
        return Packing("")
    if not (compress or name or level):
        return None
    return check_packing(Packing(name or "gzip", level))


def make_signer(given: dict[str, Any], target: Location) -> Signer | None:
    """Who signs what has been copied, None for nobody; the values are taken out of `given`."""
    key, sealed = given.pop("sign_by"), given.pop("sign_by_sigstore_private_key")
    passphrase_file, parameters_file = given.pop("sign_passphrase_file"), given.pop("sign_by_sigstore")
    if parameters_file:
        parameters = _read_parameters(parameters_file)
        sealed = parameters.private_key_file
        passphrase_file = passphrase_file or parameters.private_key_passphrase_file
    passphrase = _read_passphrase(passphrase_file)
    identity = given.pop("sign_identity")
    if not (key or sealed):
        return None
    reference = _identify(identity, target)

    def sign(document: Document) -> tuple[bytes, ...]:
        from rundlet.trust.signing import sign_sigstore, sign_simple

        made = (sign_simple(document.digest, reference, key, passphrase),) if key else ()
        if not sealed:
            return made
        return (*made, sign_sigstore(document.digest, reference, sealed, passphrase or ""))

    return sign


def _read_parameters(path: str) -> "SigningParameters":
    from rundlet.image.files import read_document
    from rundlet.spec.signingparams import parse_signing_parameters

    what = f"signing parameters {path}"
    return parse_signing_parameters(read_document(path, what).decode(errors="replace"), what)


def _read_passphrase(path: str) -> str | None:
    if not path:
        return None
    from rundlet.image.files import read_document

    return read_document(path, "passphrase file").decode().rstrip("\n")


def _identify(identity: str, target: Location) -> Reference:
    if identity:
        return parse_reference(identity)
    if target.reference is None:
        raise InvalidArgument(
            f"cannot sign for {target}", hint="--sign-identity says what the image is called"
        )
    return target.reference


def run_job(host: Host, job: Job, digest_file: str = "") -> CopyResult | None:
    """Carry out a copy and show it; None after a dry run."""
    if job.dry_run:
        for line in describe_copy(
            host,
            job.source,
            job.destination,
            job.options,
            source_access=job.source_access,
            destination_access=job.destination_access,
        ):
            print(line)
        return None
    with watching(job.progress, quiet=job.quiet) as watch:
        result = copy_image(
            host,
            job.source,
            job.destination,
            job.options,
            source_access=job.source_access,
            destination_access=job.destination_access,
            tags=job.tags,
            accept_plain=job.accept_plain,
            retry_times=job.retry_times,
            retry_delay_s=job.retry_delay_s,
            watch=watch,
            sign=job.sign,
        )
    if job.progress == "json" and not job.quiet:
        tell("image", digest=str(result.document.digest), copied=result.copied_bytes)
    if digest_file:
        from rundlet.image.files import write_document

        write_document(_absolute(digest_file), str(result.document.digest).encode())
    return result


def _absolute(path: str) -> str:
    import os

    return os.path.abspath(path)
