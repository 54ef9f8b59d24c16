"""`rundlet-runtime [global flags] COMMAND [flags] ID …`

A command's module is imported when the command is known, and the process ends
by _exit(2): tearing an interpreter down takes milliseconds that a container's
start cannot spare, and leaves nothing better than the kernel does.
"""

import os
import sys
from typing import NoReturn

from rundlet.errors import Error, Internal, InvalidArgument, from_code
from rundlet.oci.arguments import Arguments, parse_arguments
from rundlet.oci.commands import COMMANDS, GLOBAL_FLAGS, Command
from rundlet.oci.context import Context, make_context
from rundlet.oci.log import Log


def main() -> NoReturn:
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except OSError:
        code = code or 1
    os._exit(code)


def run(argv: list[str]) -> int:
    """One command; its exit code.  Errors are logged, and said on stderr when the log is elsewhere."""
    log = Log()
    code = 1
    try:
        flags = parse_arguments(argv, GLOBAL_FLAGS, flags_first=True)
        if _is_question(flags):
            return _answer(flags)
        context = make_context(flags)
        log = context.log
        name, *rest = flags.words
        command = COMMANDS.get(name)
        if command is None:
            raise InvalidArgument(f"no command {name!r}", hint="rundlet-runtime --help lists them")
        code = 255 if name == "exec" else 1  # an exec that fails must not look like its program's 1
        return _carry_out(context, name, command, rest)
    except Error as error:
        _tell(log, error)
    except BrokenPipeError:
        pass  # who read our output has seen enough
    except (OSError, ValueError) as error:
        _tell(log, from_code("failed_precondition", _describe(error)))
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        _tell(log, Internal(f"{type(error).__name__}: {error}", hint="this is a fault of rundlet-runtime"))
        if log.level == "debug":
            sys.excepthook(type(error), error, error.__traceback__)
    return code


def _carry_out(context: Context, name: str, command: Command, argv: list[str]) -> int:
    arguments = parse_arguments(argv, f"{command.flags} help,h", flags_first=command.flags_first)
    if arguments.has("help"):
        return _help(name)
    count = len(arguments.words)
    if not command.words_min <= count <= command.words_max:
        usage = f"rundlet-runtime {name} [flags] {command.words}".rstrip()
        raise InvalidArgument(f"{name}: {count} arguments given", hint=f"usage: {usage}")
    path = f"rundlet.oci.{command.module}"
    __import__(path)  # importlib is itself a package to import
    code: int = getattr(sys.modules[path], name)(context, arguments)
    return code


def _is_question(flags: Arguments) -> bool:
    return flags.has("help") or flags.has("version") or not flags.words or flags.words[0] in ("help", "h")


def _answer(flags: Arguments) -> int:
    if flags.has("version"):
        from rundlet.oci.help import version

        sys.stdout.write(version())
        return 0
    return _help(flags.words[1] if len(flags.words) > 1 else "")


def _help(name: str) -> int:
    from rundlet.oci.help import usage

    sys.stdout.write(usage(name))
    return 0


def _tell(log: Log, error: Error) -> None:
    log.write("error", str(error))
    if log.path:
        os.write(2, f"{error}\n".encode())


def _describe(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'system call'}: {error.strerror.lower()}"
    return str(error)


if __name__ == "__main__":
    main()
