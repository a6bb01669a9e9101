"""The nodes in the reader's language: complete, up to date, and as ComfyUI reads it."""

from __future__ import annotations

import importlib
import json
import re

import pytest

from devtools import locales

HOW = "run `python3 dev.py locales`, see CONTRIBUTING.md"
FILES = ("main.json", "nodeDefs.json")
KEPT = re.compile(  # what a reader has to find as it is written
    r"[\w.+/-]+\.(?:json|pt|pth|safetensors|txt|png)\b"
    r"|(?:models|output)/[\w/]+"
    r"|arXiv:[\d.]+"
    r"|(?<!\w)'[^']+'(?!\w)"
    r"|pip install [\w -]*\w"
    r"|\b\d[\d.]*\d\b|\b\d\b"
)


@pytest.fixture(scope="module")
def schemas(pack):
    return [node.GET_SCHEMA() for node in pack.module("nodes").MENU]


@pytest.fixture(scope="module")
def english(schemas):
    return locales.english(schemas)


@pytest.fixture(scope="module", params=locales.LANGUAGES)
def language(request):
    return request.param


@pytest.fixture(scope="module")
def table(language):
    return locales.table_of(language)


def load(language, name):
    return json.loads((locales.LOCALES / language / name).read_text(encoding="utf-8"))


def places(content, path=()):
    """Where texts are: tuples of keys."""
    for key, value in content.items():
        if isinstance(value, dict):
            yield from places(value, (*path, key))
        else:
            yield (*path, key)


@pytest.mark.parametrize("name", FILES)
def test_the_english_locale_has_the_words_of_the_nodes(english, name):
    assert english[name] == load("en", name), HOW


@pytest.mark.parametrize("name", FILES)
def test_a_language_has_a_text_wherever_the_nodes_have_one(english, language, name):
    assert list(places(english[name])) == list(places(load(language, name))), HOW


@pytest.mark.parametrize("name", FILES)
def test_a_locale_is_what_the_translations_say(english, language, table, name):
    assert locales.translated(english[name], table) == load(language, name), HOW


def test_every_text_of_the_nodes_and_the_page_is_translated_and_no_other(english, table):
    wanted = {text for content in english.values() for text in locales.texts(content)}
    wanted |= set(locales.page_texts())
    assert (set(), set()) == (wanted - set(table), set(table) - wanted), HOW
    assert [] == [text for text, translation in table.items() if not translation.strip()]


def test_no_folder_is_left_over():
    assert {"en", *locales.LANGUAGES} == {path.name for path in locales.LOCALES.iterdir()}


def test_sentences_are_in_the_language(language, table):
    script = {"zh": "[\u4e00-\u9fff]", "ja": "[\u3040-\u30ff]"}[language]
    sentences = {text: shown for text, shown in table.items() if text.endswith(".")}
    assert len(sentences) > 100
    assert [] == [text for text, shown in sentences.items() if not re.search(script, shown)]


def test_files_names_and_numbers_are_the_same_in_a_translation(table):
    lost = {
        (token, text)
        for text, shown in table.items()
        for token in KEPT.findall(text)
        if token not in shown
    }
    assert set() == lost


def test_nodes_are_called_in_a_sentence_what_they_are_called(schemas, table):
    """A node that another one's text names is found under that name in the menu."""
    names = sorted((schema.display_name for schema in schemas), key=len, reverse=True)
    for text, shown in table.items():
        rest = text
        for name in names:
            if name in rest:
                assert table[name] in shown, (name, text)
                rest = rest.replace(name, "")


def test_the_page_reads_no_text_of_the_nodes_as_a_pattern(english, table):
    """ComfyUI's translator takes these four for variables, links and plurals."""
    texts = {text for content in english.values() for text in locales.texts(content)}
    pairs = [(text, table[text]) for text in texts]
    assert [] == [text for pair in pairs for text in pair if set("{}@|") & set(text)]


def test_the_host_serves_the_locales(comfy, tmp_path, monkeypatch):
    (tmp_path / "pack").symlink_to(locales.ROOT, target_is_directory=True)
    monkeypatch.setattr(comfy.folder_paths, "get_folder_paths", lambda kind: [str(tmp_path)])
    manager = importlib.import_module("app.custom_node_manager").CustomNodeManager()
    served = manager.build_translations()
    assert {"en", *locales.LANGUAGES} == set(served)
    for language, content in served.items():
        assert load(language, "nodeDefs.json") == content["nodeDefs"]
        assert load(language, "main.json")["nodeCategories"] == content["nodeCategories"]
