"""Shell commands of a block of code, as far as documentation uses the shell."""

import re
import shlex
from collections.abc import Iterator

ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
SEPARATORS = {"&&", "||", "|", "&", ";", "(", ")", "{", "}"}
REDIRECTIONS = {">", ">>", "<"}
KEYWORDS = {"until", "do", "done", "then", "if", "fi", "while"}
SUBSTITUTION = re.compile(r"\$\(([^()]*(?:\([^()]*\)[^()]*)*)\)")


def commands(code: str) -> Iterator[list[str]]:
    """Every simple command as words, those within `$(…)` too; no assignments, redirections, heads of functions."""
    for inner in SUBSTITUTION.findall(code):
        yield from commands(inner)
    code = SUBSTITUTION.sub("SUBSTITUTED", code).replace("\\\n", " ")
    code = re.sub(r"^\s*\w+\(\) \{", "{ ", code, flags=re.MULTILINE)
    for line in _logical_lines(code):
        yield from _split(line)


def _logical_lines(code: str) -> Iterator[str]:
    """Lines, joined where a quote is open."""
    whole = ""
    for line in code.splitlines():
        whole = f"{whole}\n{line}" if whole else line
        try:
            shlex.split(whole, comments=True)
        except ValueError:
            continue
        yield whole
        whole = ""
    assert not whole, f"a quote is not closed: {whole!r}"


def _split(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|()<>")
    lexer.whitespace_split, lexer.commenters = True, "#"
    words: list[str] = []
    skip = False
    for word in lexer:
        if skip:
            skip = False
        elif word in REDIRECTIONS:
            skip = True
        elif word in SEPARATORS:
            yield from _command(words)
            words = []
        else:
            words.append(word)
    yield from _command(words)


def _command(words: list[str]) -> Iterator[list[str]]:
    while words and (ASSIGNMENT.fullmatch(words[0]) or words[0] in KEYWORDS or words[0] in ("export", "sudo")):
        words = words[1:]
    if words:
        yield words
