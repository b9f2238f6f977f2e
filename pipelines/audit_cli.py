"""`slipway audit`: check the audit logs of model servers."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from components.errors import BadInput
from pipelines.places import Places
from serving.audit_chain import Head, Place, Verification, verify
from serving.audit_files import audit_files, places

SHOWN = 20
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
    key: Annotated[Path | None, typer.Option(help="Key of the hashes, if the server has one (--audit_key).")] = None,
    head: Annotated[
        str, typer.Option(metavar="SEQ:HASH", help="A line that must be there, as the server's own log names it.")
    ] = "",
) -> None:
    """Check that no line was altered, removed or moved. Exit codes: 0 intact, 1 changed, 2 there is no such log."""
    from serving.audit import key_of

    try:
        secret = key_of(key)
        expected = _head(head)
        logs = _logs(log or str(Places.here().service / "audit"))
        if expected and len(logs) > 1:
            raise BadInput(f"--head is of one log, but {log} has {len(logs)}; give the folder of one")
    except BadInput as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(f"BadInput: {error}", markup=False)
        raise typer.Exit(error.exit_code) from None
    intact = [_reported(name, verify(lines, secret, expected)) for name, lines in logs]
    raise typer.Exit(0 if all(intact) else 1)


def _head(given: str) -> Head | None:
    seq, _, value = given.partition(":")
    if given and not (seq.isdigit() and len(value) == 64):
        raise BadInput(f"--head is {given!r}; expected SEQ:HASH, as in the server's log (event=audit_head)")
    return (int(seq), value) if given else None


def _logs(given: str) -> list[tuple[str, Iterable[Place]]]:
    """The logs by name."""
    if given == STANDARD_INPUT:
        return [("standard input", _stream())]
    path = Path(given)
    if path.is_file():
        return [(given, places([path]))]
    if not path.is_dir():
        raise BadInput(f"there is no audit log at {given}; give the folder or file that a model server writes")
    folders = [folder for folder in (path, *sorted(path.iterdir())) if folder.is_dir() and audit_files(folder)]
    if not folders:
        raise BadInput(f"{given} has no audit-*.jsonl; give the folder that a model server writes")
    return [(str(folder), places(audit_files(folder))) for folder in folders]


def _stream() -> Iterator[Place]:
    for number, raw in enumerate(sys.stdin.buffer, 1):
        if raw.startswith(b'{"seq":'):
            yield Place("standard input", number, raw.rstrip(b"\n"), raw.endswith(b"\n"))


def _reported(name: str, found: Verification) -> bool:
    """Print what was found; returns whether the log is intact."""
    extent = f"{found.lines} lines, seq {found.first} to {found.seq}, head {found.seq}:{found.head}"
    verdict = "[bold red]changed[/]" if found.problems else "[bold green]intact[/]"
    console.print(f"{verdict}  ", end="")
    console.print(f"{name}: {extent}", markup=False)
    for problem in found.problems[:SHOWN]:
        console.print(f"  {problem}", markup=False)
    if len(found.problems) > SHOWN:
        console.print(f"  and {len(found.problems) - SHOWN} more")
    for note in found.notes:
        console.print(f"  note: {note}", markup=False)
    return not found.problems
