"""The command `slipway audit`, which checks the audit logs of model servers."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from slipway.components.errors import BadInput
from slipway.components.rollout.local import access
from slipway.pipelines.home import Places
from slipway.serving.audit.chain import Numbered, Place, Verification, verify
from slipway.serving.audit.files import audit_files, places
from slipway.serving.audit.heads import heads_in

SHOWN = 20
"""At most so many problems of a log are printed."""
STANDARD_INPUT = "-"
app = typer.Typer(help="The audit logs of model servers.", no_args_is_help=True)
console = Console(soft_wrap=True, highlight=False)


@app.callback()
def group() -> None:
    """The audit logs of model servers."""


@app.command("verify")
def verify_command(
    log: Annotated[
        str,
        typer.Argument(
            help="A folder of audit files, a folder of such folders, a file, or - for the standard input, where lines "
            "of other kinds are passed over. By default, the logs of the service on this machine."
        ),
    ] = "",
    key: Annotated[
        Path | None,
        typer.Option(help="Key of the hashes, if the server has one (--audit_key); on this machine the service's own."),
    ] = None,
    head: Annotated[
        str,
        typer.Option(
            metavar="FILE|-|SEQ:HASH",
            help="Lines that must be there: the file of --audit_head, or the server's ordinary log, from a file or the "
            "standard input. For the service on this machine, its own files by default.",
        ),
    ] = "",
) -> None:
    """Check that no line was altered, removed or moved. Exit codes: 0 intact, 1 changed, 2 there is no such log."""
    from slipway.serving.audit.audit_log import key_of

    try:
        given_heads = _heads(head, log)
        logs = _logs(log) if log else _local_logs()
        secret = key_of(key or _local_key(log))
        if given_heads and len(logs) > 1:
            raise BadInput(f"--head is of one log, but {log or 'the service'} has {len(logs)}; give the folder of one")
    except BadInput as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(f"BadInput: {error}", markup=False)
        raise typer.Exit(error.exit_code) from None
    intact = [
        _reported(name, verify(lines, secret, given_heads or heads, complete)) for name, lines, heads, complete in logs
    ]
    raise typer.Exit(0 if all(intact) else 1)


Heads = list[Numbered]
Log = tuple[str, Iterable[Place], Heads, bool]
"""An audit log: its name, its lines, its known heads, and whether the lines are all that the server kept."""


def _heads(head: str, log: str) -> Heads:
    """The heads that the option --head gives: a file, `-` for standard input, or SEQ:HASH itself."""
    if head == STANDARD_INPUT and log == STANDARD_INPUT:
        raise BadInput("both the log and --head are the standard input; give a file for one of them")
    if not head:
        return []
    try:
        text = sys.stdin.read() if head == STANDARD_INPUT else Path(head).read_text("utf-8")
    except FileNotFoundError:
        text = head
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"--head {head} cannot be read ({error})") from error
    return [(noted.seq, noted.hash) for noted in heads_in(text, f"--head {head}")]


def _local_key(log: str) -> Path | None:
    """The audit key of the service on this machine; None for a log that is not its own, or without a key."""
    service = Places.here().service
    key = service / access.AUDIT_KEY
    is_local = not log or Path(log).absolute().is_relative_to(service)
    return key if is_local and key.exists() else None


def _local_logs() -> list[Log]:
    """The logs of the service on this machine, with the heads that its servers noted.

    A log whose files were deleted still has a noted head. It is returned without lines, so that the check fails.
    """
    service = Places.here().service
    noted = {file.stem: _heads(str(file), "") for file in sorted((service / access.AUDIT_HEADS).glob("*.jsonl"))}
    try:
        logs = _logs(str(service / access.AUDIT))
    except BadInput:
        if not noted:
            raise
        logs = []
    existing = {
        Path(name).name: (name, lines, noted.pop(Path(name).name, []), complete) for name, lines, _, complete in logs
    }
    deleted = [(str(service / access.AUDIT / version), iter(()), heads, True) for version, heads in noted.items()]
    return [*existing.values(), *deleted]


def _logs(log: str) -> list[Log]:
    """The logs at a path: a file, a folder of audit files, a folder of such folders, or `-` for standard input."""
    if log == STANDARD_INPUT:
        return [("standard input", _stream(), [], False)]
    path = Path(log)
    if path.is_file():
        return [(log, places([path]), [], False)]
    if not path.is_dir():
        raise BadInput(f"there is no audit log at {log}; give the folder or file that a model server writes")
    folders = [folder for folder in (path, *sorted(path.iterdir())) if folder.is_dir() and audit_files(folder)]
    if not folders:
        raise BadInput(f"{log} has no audit-*.jsonl; give the folder that a model server writes")
    return [(str(folder), places(audit_files(folder)), [], True) for folder in folders]


def _stream() -> Iterator[Place]:
    """The audit lines of standard input; a server's ordinary log lines between them are skipped."""
    for number, raw in enumerate(sys.stdin.buffer, 1):
        if raw.startswith(b'{"seq":'):
            yield Place("standard input", number, raw.rstrip(b"\n"), raw.endswith(b"\n"))


def _reported(name: str, result: Verification) -> bool:
    """Print the result of a check; returns whether the log is intact."""
    extent = f"{result.lines} lines, seq {result.first} to {result.seq}, head {result.seq}:{result.head}"
    verdict = "[bold red]changed[/]" if result.problems else "[bold green]intact[/]"
    console.print(f"{verdict}  ", end="")
    console.print(f"{name}: {extent}", markup=False)
    for problem in result.problems[:SHOWN]:
        console.print(f"  {problem}", markup=False)
    if len(result.problems) > SHOWN:
        console.print(f"  and {len(result.problems) - SHOWN} more")
    for note in result.notes:
        console.print(f"  note: {note}", markup=False)
    return not result.problems
