"""tools/words.py finds the words that the list names, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import words

LIST = words.read_list()


def write_list(folder: Path, text: str) -> words.WordList:
    path = folder / "words.toml"
    path.write_text(text, encoding="utf-8")
    return words.read_list(path)


def test_a_planted_word_is_reported_with_its_line_and_the_word_to_use(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("Plain text.\nA twofold sum.\n", encoding="utf-8")
    assert words.check(["page.md"], tmp_path, LIST) == ['page.md:2: "twofold": say "double-double"']


def test_a_clean_text_has_no_problems(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("Double-double sums are exact.\n", encoding="utf-8")
    assert words.check(["page.md"], tmp_path, LIST) == []


@pytest.mark.parametrize(
    "text",
    [
        "a sure model",
        "Sure models",
        "def test_sure_models() -> None:",
        "what a\n    # sure\n    # model knows",
        "// a sure\n// model",
        '"a sure "\n    "model"',
    ],
)
def test_case_names_and_line_breaks_hide_nothing(text: str) -> None:
    assert list(LIST.problems("any.py", text))


@pytest.mark.parametrize("text", ["probability mass", "masseuse", "amass", "importlib.util"])
def test_standard_terms_and_longer_words_are_left_alone(text: str) -> None:
    assert list(LIST.problems("any.py", text)) == []


def test_file_names_are_read_too() -> None:
    (problem,) = LIST.problems("native/twofold.h", "")
    assert problem.startswith('native/twofold.h: "twofold" in the file\'s name')


def test_an_entry_with_paths_is_about_those_files_alone(tmp_path: Path) -> None:
    words_of = write_list(
        tmp_path, '[[word]]\navoid = "tiles?"\nsay = "logits buffer"\npaths = ["linear/*"]\n'
    )
    assert list(words_of.problems("linear/a.py", "a tile"))
    assert list(words_of.problems("lanes.h", "a tile")) == []


def test_allow_covers_the_phrase_and_not_the_file(tmp_path: Path) -> None:
    words_of = write_list(
        tmp_path, '[[word]]\navoid = "face"\nsay = "frontend"\nallow = ["Hugging Face"]\n'
    )
    (problem,) = words_of.problems("a.md", "Hugging Face\nthe face")
    assert problem.startswith("a.md:2:")


def test_skipped_files_and_files_that_are_no_text_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "numbers.json").write_text("twofold", encoding="utf-8")
    (tmp_path / "picture.png").write_bytes(b"\xff\xfetwofold")
    assert words.check(["numbers.json", "picture.png", "gone.py"], tmp_path, LIST) == []


def test_a_misspelled_key_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="alow"):
        write_list(tmp_path, '[[word]]\navoid = "a"\nsay = "b"\nalow = ["c"]\n')


def test_the_list_recommends_no_word_that_it_bans() -> None:
    for word in LIST.words:
        for other in LIST.words:
            assert not list(other.occurrences(word.say)), word.say


def test_the_exit_status_says_whether_there_was_any(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(words, "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text("A plain sentence.\n", encoding="utf-8")
    assert words.main([str(page)]) == 0
    page.write_text("A twofold sum.\n", encoding="utf-8")
    assert words.main([str(page)]) == 1
    assert capsys.readouterr().out == 'page.md:1: "twofold": say "double-double"\n'
