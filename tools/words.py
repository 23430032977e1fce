"""Find words that this project doesn't use: python tools/words.py [FILE...].

words.toml lists them with the standard term for each. Without arguments the script reads every
text file that git tracks, and its name. It prints each occurrence as `FILE:LINE: "found": say
"term"` and exits with status 1 if there is any.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIST = Path(__file__).with_suffix(".toml")

# Between two words: a space, the separator of a name, or a line break with the marks of a comment
# or of adjacent string literals around it.
_GAP = r"""(?:[ _-]|[ ]?["'`]?[ \t]*\n[ \t]*(?:(?:\#|//|\*|\|)[ \t]*|[frb]?["'])?)"""


@dataclass(frozen=True)
class Word:
    """One entry of the list."""

    avoid: re.Pattern[str]
    say: str
    allow: tuple[re.Pattern[str], ...]
    paths: tuple[str, ...]

    def concerns(self, path: str) -> bool:
        """Whether the entry is about this file."""
        return any(fnmatch(path, pattern) for pattern in self.paths)

    def occurrences(self, text: str) -> Iterator[re.Match[str]]:
        """The places where the word stands, apart from those that an `allow` expression covers."""
        allowed: list[tuple[int, int]] | None = None
        for found in self.avoid.finditer(text):
            if allowed is None:
                allowed = [match.span() for one in self.allow for match in one.finditer(text)]
            if not any(start <= found.start() and found.end() <= end for start, end in allowed):
                yield found


@dataclass(frozen=True)
class WordList:
    """The entries, and the files that none of them is about."""

    words: tuple[Word, ...]
    skip: tuple[str, ...]

    def problems(self, path: str, text: str) -> Iterator[str]:
        """One line for each occurrence in a file's text or name."""
        if any(fnmatch(path, pattern) for pattern in self.skip):
            return
        for word in self.words:
            if not word.concerns(path):
                continue
            for found in word.occurrences(path):
                yield f'{path}: "{found[0]}" in the file\'s name: say "{word.say}"'
            for found in word.occurrences(text):
                line = text.count("\n", 0, found.start()) + 1
                shown = " ".join(found[0].split())
                yield f'{path}:{line}: "{shown}": say "{word.say}"'


def compile_words(expression: str) -> re.Pattern[str]:
    """A pattern for whole words, in any case; its spaces match every gap between two words."""
    return re.compile(
        rf"(?<![A-Za-z])(?:{expression.replace(' ', _GAP)})(?![A-Za-z])", re.IGNORECASE
    )


def read_list(path: Path = LIST) -> WordList:
    """Read the list; an unknown key is an error, so that a misspelled one doesn't pass unseen."""
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    words = []
    for entry in content["word"]:
        unknown = entry.keys() - {"avoid", "say", "allow", "paths"}
        if unknown:
            raise ValueError(f"{path}: {entry['avoid']!r} has unknown keys: {sorted(unknown)}")
        words.append(
            Word(
                avoid=compile_words(entry["avoid"]),
                say=entry["say"],
                allow=tuple(map(compile_words, entry.get("allow", []))),
                paths=tuple(entry.get("paths", ["*"])),
            )
        )
    return WordList(tuple(words), tuple(content.get("skip", [])))


def tracked_files(root: Path) -> list[str]:
    """The files that git tracks or would track, relative to the root."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others"]
    listed = subprocess.run(
        [*command, "--exclude-standard"], capture_output=True, text=True, check=False
    )
    if listed.returncode != 0:
        raise SystemExit(f"words: name the files to read: {listed.stderr.strip()}")
    return sorted(name for name in listed.stdout.split("\0") if name)


def check(names: Sequence[str], root: Path, words: WordList) -> list[str]:
    """The problems of some files, given relative to the root; what isn't text is left out."""
    problems: list[str] = []
    for name in names:
        path = root / name
        if not path.is_file():  # deleted, and not yet committed
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        problems += words.problems(name, text)
    return problems


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the problems; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, help="all tracked files where none is given")
    named = parser.parse_args(arguments).files
    names = [path.resolve().relative_to(ROOT).as_posix() for path in named] or tracked_files(ROOT)
    problems = check(names, ROOT, read_list())
    sys.stdout.writelines(f"{problem}\n" for problem in problems)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
