"""The cells that a memory counts as taken are those that a model of single cells says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from localprompt.engine.cells import Cells

IDS = st.integers(0, 4)
STEPS = st.one_of(
    st.tuples(st.just("extend"), st.lists(IDS, min_size=1, max_size=3, unique=True), st.integers(1, 5)),
    st.tuples(st.just("copy"), IDS, IDS, st.none() | st.integers(0, 12)),
    st.tuples(st.just("truncate"), IDS, st.integers(0, 12)),
    st.tuples(st.just("drop"), IDS),
)


@given(st.lists(STEPS, max_size=40))
def test_cells_are_counted_as_single_ones_are(steps: list[tuple[object, ...]]) -> None:
    counted, single, made = Cells(), dict[int, list[int]](), 0
    for name, *arguments in steps:
        match name, arguments:
            case "extend", [list(ids), int(n)]:
                counted.extend(ids, n)
                for each in ids:
                    single.setdefault(each, []).extend(range(made, made + n))
                made += n
            case "copy", [int(source), int(target), length] if source != target:
                assert length is None or isinstance(length, int)
                counted.copy(source, target, length)
                single[target] = single.get(source, [])[:length]
            case "truncate", [int(each), int(length)]:
                counted.truncate(each, length)
                single[each] = single.get(each, [])[:length]
            case "drop", [int(each)]:
                counted.drop(each)
                single.pop(each, None)
            case _:
                continue
        assert counted.n_taken == len({cell for cells in single.values() for cell in cells})
