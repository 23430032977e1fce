"""Check the subjects of commits: python tools/commits.py [--message FILE].

A subject is `scope: what the commit does`: at most 72 characters, in the imperative mood
(`doctor: select rules by name`), without a full stop. The script checks the commits since `SINCE`,
or with --message the first line of one message, which is how the commit-msg hook calls it. Merges,
reverts and fixups keep the subjects that git gives them.

The imperative is recognised by a heuristic: the first word after the scope is no article or other
word that begins a description, and doesn't end in -s, -ed or -ing.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SINCE = "57d6b56ac7bc05a82d7ef5f71293b33a259d70a2"  # the first commits had no such rule
LONGEST = 72

_BY_GIT = re.compile(r'Merge |Revert "|Reapply "|(fixup|squash|amend)! ')
_SUBJECT = re.compile(r"(?P<scope>[\w./*+-]+(?:(?:, | and | )[\w./*+-]+){0,3}): (?P<rest>\S.*)")
_NOT_VERBS = re.compile(
    "an?|the|th(is|at|ese|ose)|its?|no|not|all|every|each|some|more|most|less|fewer|new|old|what|"
    "which|who|whose|when|where|why|how|if|as|at|by|for|from|in|of|on|to|with|without|and|or|but|"
    "is|are|was|were|be|been|ha[sd]|have|can|could|may|might|must|should|will|would|now|also|one|"
    "two|we|i|you|they|there|here|better|faster|smaller|only|wip"
)
_OTHER_FORMS = re.compile(r"\w*([^s]s|ed|ing)")
_IMPERATIVES = re.compile(  # that end like another form of a verb
    "(em)?bed|(ex|pro|suc)ceed|feed|heed|need|seed|shed|speed|weed|"
    "(b|br|cl|fl|p|r|s|sl|st|str|sw|w|wr)ing|spring|alias|bias|focus|bus"
)


def problems(subject: str) -> Iterator[str]:
    """What is wrong with a subject, in words."""
    if _BY_GIT.match(subject):
        return
    if len(subject) > LONGEST:
        yield f"has {len(subject)} characters: at most {LONGEST}, put the rest into the body"
    if subject.endswith("."):
        yield "ends with a full stop: leave it out"
    parts = _SUBJECT.fullmatch(subject)
    if parts is None:
        yield "has no scope: write `scope: what the commit does`"
        return
    first = re.split(r"[^A-Za-z-]", parts["rest"], maxsplit=1)[0].lower()
    if not first:
        yield "has no verb after the scope: say what the commit does, such as `add` or `fix`"
    elif _NOT_VERBS.fullmatch(first) or (
        _OTHER_FORMS.fullmatch(first) and not _IMPERATIVES.fullmatch(first)
    ):
        yield f"starts with {first!r} after the scope: use the imperative, such as `add` or `fix`"


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False
    )


def subjects_since(commit: str) -> list[tuple[str, str]] | str:
    """(commit, subject) of each commit since one; or why they can't be listed."""
    try:
        known = _git("cat-file", "-e", f"{commit}^{{commit}}")
    except FileNotFoundError:
        return "git isn't installed"
    if known.returncode != 0:
        return f"{commit[:7]} isn't in this checkout (an archive, or a shallow clone)"
    listed = _git("log", "--no-merges", "--format=%H %s", f"{commit}..HEAD")
    if listed.returncode != 0:
        return listed.stderr.strip()
    pairs = (line.partition(" ") for line in listed.stdout.splitlines())
    return [(name[:9], subject) for name, _, subject in pairs]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what is wrong; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--message", type=Path, help="a file with one message, as hooks get it")
    path = parser.parse_args(arguments).message
    if path is not None:
        lines = path.read_text(encoding="utf-8").splitlines()
        subjects: list[tuple[str, str]] | str = [("message", lines[0] if lines else "")]
    else:
        subjects = subjects_since(SINCE)
    if isinstance(subjects, str):
        sys.stdout.write(f"commits: skipped: {subjects}\n")
        return 0
    found = [
        f"{name}: {subject!r} {problem}\n"
        for name, subject in subjects
        for problem in problems(subject)
    ]
    sys.stdout.writelines(found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
