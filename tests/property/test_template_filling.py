from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from localprompt.tasks.template import Layout, default_demo, default_template, fill
from localprompt.types import Demo, Prompt

LAYOUT = Layout(default_template(["input"]), default_demo(["input"]))
HOSTILE = st.one_of(
    st.text(), st.sampled_from(["{{input}}", "{{demos}}", "{{instruction}}", "{0}", "%s", "\\1", "\\g<0>"])
)


@given(instruction=HOSTILE, data=HOSTILE, output=HOSTILE)
def test_whatever_the_data_holds_it_stands_in_the_text_as_it_is(instruction: str, data: str, output: str) -> None:
    text = LAYOUT.render(Prompt(instruction, (Demo({"input": data}, output),)), {"input": data}).text
    shown = instruction + "\n\n" if instruction.strip() else ""
    assert text == f"{shown}Input: {data}\nOutput: {output}\n\nInput: {data}\nOutput:"


@given(
    pieces=st.lists(st.tuples(st.sampled_from(["a", "b"]), st.text(alphabet="xy \n"))),
    values=st.tuples(HOSTILE, HOSTILE),
)
def test_filling_equals_joining_the_pieces(pieces: list[tuple[str, str]], values: tuple[str, str]) -> None:
    by_name = dict(zip("ab", values, strict=True))
    template = "".join(f"{{{{{name}}}}}{literal}" for name, literal in pieces)
    assert fill(template, by_name) == "".join(by_name[name] + literal for name, literal in pieces)


@given(before=st.text(alphabet="x \n"), after=st.text(alphabet="x \n"), data=st.text())
def test_a_vanished_slot_never_touches_data_and_leaves_no_blank_end(before: str, after: str, data: str) -> None:
    text = fill(f"{{{{input}}}}{before}{{{{instruction}}}}{after}", {"input": data, "instruction": ""})
    assert text.startswith(data)
    rest = text[len(data) :]
    assert rest == before + after.lstrip() if after.strip() else rest == before.rstrip()
