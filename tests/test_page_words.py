"""What the page says, in every language: complete, without leftovers, with the same values."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest

from devtools import locales

HOW = "run `python3 dev.py locales`, see CONTRIBUTING.md"
PLACE = re.compile(r"\{(\w+)\}")
SCRIPTS = sorted(
    path
    for path in (*locales.SCRIPTS.glob("*.js"), *locales.SCRIPTS.glob("*.mjs"))
    if path.name not in (locales.WORDS, locales.MODULE)
)


@pytest.fixture(scope="module")
def tables():
    return {language: locales.table_of(language) for language in locales.LANGUAGES}


@pytest.fixture(scope="module")
def served():
    """Language -> English text -> translation, as the page reads it."""
    text = (locales.SCRIPTS / locales.MODULE).read_text(encoding="utf-8")
    return json.loads(text.removeprefix(locales.MODULE_HEAD).removesuffix(";\n"))


def test_the_page_asks_for_words():
    texts = locales.page_texts()
    assert {"Choose a schedule", "{n} of {budget} images", "Compute all"} <= set(texts)
    assert len(texts) > 100


@pytest.mark.parametrize("language", locales.LANGUAGES)
def test_every_word_of_the_page_is_there_in_a_language_and_no_other(served, language):
    assert locales.page_texts() == list(served[language]), HOW
    assert [] == [text for text, shown in served[language].items() if not shown.strip()]


def test_the_page_has_the_languages_of_the_nodes(served):
    assert list(locales.LANGUAGES) == list(served)


def test_the_page_is_served_what_the_translations_say(tables):
    written = (locales.SCRIPTS / locales.MODULE).read_text(encoding="utf-8")
    assert locales.page_module(tables) == written, HOW


@pytest.mark.parametrize("language", locales.LANGUAGES)
def test_a_translation_takes_the_values_of_the_english_text(served, language):
    for text, shown in served[language].items():
        assert Counter(PLACE.findall(text)) == Counter(PLACE.findall(shown)), text
        assert "{" not in PLACE.sub("", shown) and "}" not in PLACE.sub("", shown), text


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_text_is_given_the_values_that_it_takes(script):
    for texts, rest in locales.calls(script.read_text(encoding="utf-8")):
        for text in texts:
            counted = {"n"} if len(texts) == 2 else set()
            for name in set(PLACE.findall(text)) - counted:
                assert re.search(rf"\b{name}\b", rest), f"{text!r} is not given {name}"


@pytest.mark.parametrize("language", locales.LANGUAGES)
def test_words_that_stand_side_by_side_differ(served, language):
    """What the legend, the report or a button tells apart in English is told apart."""
    table = served[language]
    for group in (
        ("computed", "reused", "forced"),
        ("cached", "uncached"),
        ("found", "knee", "FORA and other presets", "uncached"),
        ("Undo", "Redo", "Compute all", "Start over", "Load", "Save"),
        ("Slider", "Difference"),
        ("click: compute", "click: reuse"),
    ):
        assert len(group) == len({table[text] for text in group}), group


SHOWN = re.compile(  # places of texts that a reader sees, with the text written right there
    r"(?:textContent|title|placeholder|problem|note)\s*=\s*[`\"]([^`\"]*)"
    r"|(?:fillText|Error|swatch|button|fail|drawBadge)\(\s*[`\"]([^`\"]*)"
    r"|\"aria-label\",\s*[`\"]([^`\"]*)"
    r"|element\(\"\w+\", \"[^\"]*\", \[[`\"]([^`\"]*)"
)
NO_WORDS = {"FORA"}  # a name


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_no_text_is_shown_past_the_translations(script):
    found = SHOWN.findall(script.read_text(encoding="utf-8"))
    texts = [re.sub(r"\$\{[^}]*(\}|$)", "", text) for groups in found for text in groups]
    assert [] == [t for t in texts if re.search("[A-Za-z]{2}", t) and t not in NO_WORDS]


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ('button.title = "Read again";', ["Read again"]),
        ('button.title = say("Read again");', []),
        ("this.note = `Saved as ${name}`;", ["Saved as ${name}"]),
        ('element("button", "", ["Refresh"])', ["Refresh"]),
        ('canvas.setAttribute("aria-label", "Front")', ["Front"]),
        ('context.fillText("quality", 0, 0)', ["quality"]),
    ],
)
def test_the_look_for_texts_sees_them(code, shown):
    assert shown == [text for groups in SHOWN.findall(code) for text in groups if text]


def test_texts_are_read_from_calls():
    code = 'say("a {b}" +\n "c", { b });\nsayCount("one", "{n} many", n);\nunsay("d"); x.say("e");'
    assert [["a {b}c"], ["one", "{n} many"]] == [texts for texts, _ in locales.calls(code)]


@pytest.mark.parametrize("code", ["say(name)", "say(`a`)", "sayCount('a', 'b', n)", 'say(1 + "a")'])
def test_a_call_without_its_text_is_refused(code):
    with pytest.raises(ValueError, match="write the text out"):
        list(locales.calls(code))
