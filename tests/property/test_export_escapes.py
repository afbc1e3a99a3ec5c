"""Literals in the template languages of other programs come out as they are.

The languages are read here as far as exports use them; tests/outside has the real ones.
"""

from __future__ import annotations

import re

import jinja2
from hypothesis import example, given
from hypothesis import strategies as st

from localprompt.exports import ollama, promptfoo
from localprompt.exports.rendering import Piece

TEXTS = st.text(st.one_of(st.sampled_from('{}%#"\\\n`- '), st.characters(exclude_categories=["Cs"])))


@given(TEXTS, TEXTS, TEXTS)
@example("", "\r", "\r")
def test_in_nunjucks(before: str, row: str, after: str) -> None:
    pieces = (Piece(before), Piece("input", is_input=True), Piece(after))
    template = "".join(map(promptfoo.escaped, pieces))
    # Jinja normalises line breaks, which Nunjucks does not.
    environment = jinja2.Environment(keep_trailing_newline=True, newline_sequence="\n")
    rendered = environment.from_string(template).render(row={"input": row})
    assert lines(rendered) == lines(lines(before) + row + lines(after))
    assert "#}" not in re.sub(r"\{\{.*?\}\}", "", template)  # Nunjucks stumbles over it


def lines(text: str) -> str:
    return re.sub("\r\n|\r", "\n", text)


@given(TEXTS, TEXTS)
@example('{"', '{\u00a0{{"""')
def test_in_a_modelfile(before: str, after: str) -> None:
    template = f"{ollama.escaped(before)}{{{{ .Prompt }}}}{ollama.escaped(after)}"
    file = f'FROM x\nTEMPLATE """{template}"""\nPARAMETER temperature 0\n'
    assert render(read_template(file), "row") == f"{before}row{after}"


def read_template(file: str) -> str:
    """The text as Ollama reads it: three quotes before a line break end it, what is not printable is dropped."""
    read = ""
    for character in file.partition("\nTEMPLATE ")[2]:
        if character in "\r\n" and len(read.strip()) >= 6 and read.strip().endswith('"""'):
            break
        if character.isprintable() or character in "\n\r\t ":
            read += character
    return read.strip()[3:-3]


def render(template: str, prompt: str) -> str:
    """What Go makes of the two kinds of actions that exports write; a brace that begins another one fails."""

    def action(match: re.Match[str]) -> str:
        if match[1] == ".Prompt":
            return prompt
        found = re.fullmatch(r'"\\[uU]([0-9a-f]{4,8})"', match[1])
        assert found is not None, match[1]
        return chr(int(found[1], 16))

    literal = re.sub(r"\{\{ \S+ \}\}", "\0", template)
    assert "{{" not in literal
    assert "{\0" not in literal
    return re.sub(r"\{\{ (\S+) \}\}", action, template)
