"""Texts that differ only in how they are written: case, width, punctuation, blanks. Level 3, pure functions.

For ASCII it is what the papers' code does, and every script is held to the same: `“Paris”` is Paris, `巴黎。` is 巴黎.
"""

from __future__ import annotations

import unicodedata

import regex

UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}ー\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}"
"""Scripts that put no blanks between words."""
_SIGNS = r"\p{P}$+<=>^`|~"
"""Punctuation, and the symbols that ASCII counts to it."""
_BETWEEN = regex.compile(rf"(?<=[{UNSPACED}])[{_SIGNS}\s]+(?=[{UNSPACED}])")
_SIGN = regex.compile(f"[{_SIGNS}]")
_BESIDE = regex.compile(rf"(?<=[{UNSPACED}]) | (?=[{UNSPACED}])")
_PART = regex.compile(rf"(?=[{UNSPACED}])\X|[^{UNSPACED}]+")
_SENTENCE_END = regex.compile("[.。।۔።։]")
_EDGES = "\"'.,;:!?…。、！？；：，؟،؛।۔።։ "
_TIGHT = regex.compile(r"(?<=\S)[,;、](?!\d{3}(?!\d))(?=\S)")
"""Signs that part words without a blank, `a,b`, but not the thousands of `1,000`."""
_HYPHEN = regex.compile(r"(?<=\p{L}\p{M}*)-(?=\p{L})")
_NO_NUMBER_BEFORE = r"(?<!\d\.)(?<!\d,(?=\d{3}(?!\d)))(?<!(?<![^\s(])-)"
_NO_NUMBER_AFTER = r"(?!\.\d|,\d{3}(?!\d))"
"""A number is whole with its sign, its decimals and its thousands."""
_ALIKE = dict.fromkeys("‘’‚‛ʻʼʽ´′", "'") | dict.fromkeys("“”„‟«»‹›″「」『』", '"') | {"−": "-", "፡": " "}
_KEPT = ("<super>", "<sub>", "<fraction>", "<circle>")
"""Compatibility forms that mean something else: 10² is not 102."""


class _Plain(dict[int, str]):
    """Each character in the width, the quotation marks, the dashes and the digits of ASCII, where it is one of them."""

    def __missing__(self, code: int) -> str:
        self[code] = _plain(chr(code))
        return self[code]


def _plain(sign: str) -> str:
    category, kind = unicodedata.category(sign), unicodedata.decomposition(sign).partition(" ")[0]
    if sign in _ALIKE:
        return _ALIKE[sign]
    if category == "Cf" or "\ufe00" <= sign <= "\ufe0f":  # invisible: joiners, marks of direction, of an emoji's style
        return ""
    if category == "Pd":
        return "-"
    if category == "Nd":
        return str(unicodedata.decimal(sign))
    return unicodedata.normalize("NFKC", sign) if kind.startswith("<") and kind not in _KEPT else sign


_PLAIN = _Plain()


def plain(text: str) -> str:
    """Return a text in composed characters, and in ASCII's width, quotation marks, dashes and digits."""
    return text if text.isascii() else unicodedata.normalize("NFC", text.translate(_PLAIN))


def normalise(text: str) -> str:
    """Return the form in which the instruction-induction metrics compare answers.

    Source: the execution-accuracy evaluation published with APE (Zhou et al. 2023): " and " and the labels of sentence
    pairs go, then only the first line up to its first period counts, in lower case, hyphens as spaces, without
    punctuation. Differs: what holds for ASCII holds for every script (`plain`, the periods of other scripts, no blanks
    in scripts that have none), and runs of blank space count as one space. Decimals and abbreviations do not survive
    the rule about periods: `numeric` and `equals` are for those.
    """
    return _BESIDE.sub("", " ".join(words(text)))


def words(text: str) -> list[str]:
    """Return the words of `normalise`; in scripts without spaces, what punctuation sets apart."""
    text = plain(text.lstrip("…")).replace(" and ", " ")
    text = text.replace("Sentence 1:", " ").replace("Sentence 2:", " ").strip()
    text = _lower(_SENTENCE_END.split(text.partition("\n")[0], maxsplit=1)[0]).replace("-", " ")
    return unicodedata.normalize("NFC", _SIGN.sub("", _BETWEEN.sub(" ", text))).split()


def listed(text: str) -> set[str]:
    """Return the words of a list: those of `words`, and also what commas set apart without a blank, `a,b`."""
    return set(words(_TIGHT.sub(" ", plain(text))))


def parts(text: str) -> list[str]:
    """Return the words of `normalise`, one by one the characters of scripts without spaces."""
    return [part for word in words(text) for part in _PART.findall(word)]


def holds(text: str, wanted: str) -> bool:
    """Return whether a text holds another as whole words; case, width, blanks, hyphens and marks around it aside."""
    wanted = _spoken(wanted)
    wanted = wanted.strip(_EDGES[:2]).rstrip(_EDGES) or wanted
    if not wanted:
        return False
    before = "" if _is_unspaced(wanted[0]) else rf"(?<![\w--[{UNSPACED}]])"
    after = "" if _is_unspaced(wanted[-1]) else rf"(?![\w--[{UNSPACED}]])"
    before += _NO_NUMBER_BEFORE if wanted[0].isdecimal() else ""
    after += _NO_NUMBER_AFTER if wanted[-1].isdecimal() else ""
    return regex.search(f"(?V1){before}{regex.escape(wanted)}{after}", _spoken(text)) is not None


def _spoken(text: str) -> str:
    return " ".join(_HYPHEN.sub(" ", _lower(plain(text))).split())


def _lower(text: str) -> str:
    # Turkish has an i with and one without a dot, and which I is whose capital depends on the language.
    return text.casefold().replace("i\u0307", "i").replace("ı", "i")


def _is_unspaced(sign: str) -> bool:
    return regex.match(f"[{UNSPACED}]", sign) is not None
