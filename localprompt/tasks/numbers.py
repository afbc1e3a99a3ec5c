"""Numbers in a text: how people and models write them, and what they are worth. Level 3, pure functions.

A fraction, a time, a date, a ratio and a range are one answer, not the last of their numbers: `3/2` is not `1/2`.
"""

from __future__ import annotations

import decimal
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

import regex

_NUMBER = regex.compile(
    r"""
    (?P<sign>(?<![\w)])[-\u2212])?      # after a letter, digit or bracket: a hyphen ("covid-19") or a subtraction
    (?: (?P<points>                     # 1.234,56 and 1.234.567, but not 1.234
            (?<![\w.,])[1-9][0-9]{0,2}
            (?: (?:\.[0-9]{3})+ (?=,[0-9]+(?![.,]?[0-9])) | (?:\.[0-9]{3}){2,} (?!\.?[0-9]) ))
      | (?P<spaces>                     # 1 234 567, but not the list 64 128 256 7
            (?<![0-9.,])(?<![0-9][ \u00a0\u2009\u202f])[1-9][0-9]{0,2}
            (?P<gap>[ \u00a0\u2009\u202f'\u2019_])[0-9]{3} (?:(?P=gap)[0-9]{3})* (?!(?P=gap)?[0-9]))
      | (?P<parts>[0-9]+(?:\.[0-9]+){2,})   # a version or a date
      | (?P<plain>[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])
            | (?<![0-9],)[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}(?!,?[0-9])    # 12,34,567, as in India
            | [0-9]+)
      | (?<![\w.])(?=\.[0-9]) )
    (?P<fraction>(?(points),|(?(spaces)[.,]|\.))[0-9]+)?
    (?P<exponent>[eE][-+]?[0-9]+)?
    """,
    regex.VERBOSE,
)
_DASH = "-\u2010-\u2015\u2212"
_TIGHT = regex.compile(rf"(?P<dash>[{_DASH}~\u301c])|(?P<sign>\+)|(?P<unit>[年月日时時点點分년월일시분]) ?")
_LOOSE = regex.compile(r"(?P<blank> ?)(?P<sign>/|÷|\^|\*\*|\*|×|x|·|±|√|:)(?P=blank)")
_RANGE = regex.compile(r"\s+(?:to|through|bis|à)\s+|\s*[到至]\s*")
_APART = regex.compile(rf" (?P<dash>[{_DASH}]) ")
_FROM = regex.compile(r"\p{L}.*\bfrom\s+\Z", regex.DOTALL)
_PREFIX = regex.compile(r"(?:√|π ?/ ?)\Z")
_DAY_HALF = regex.compile(r"\s?([ap])\.?\s?m\b", regex.IGNORECASE)
_SCALE = regex.compile(r"\s?(?:(hundred|thousand|million|billion|trillion)\b|([万萬億亿]))", regex.IGNORECASE)
_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12, "万": 4, "萬": 4, "億": 8, "亿": 8}
"""Powers of ten."""
_RESULT = regex.compile(r"[\p{L}=≈→#\n]")
_BLANK = (" ", "\u00a0", "\u2009", "\u202f")
_TIMES = ("*", "×", "x", "·")
_EXACT = decimal.Context(prec=60, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN, traps=[])
_SAME = Decimal("1e-6")
_MAX_POWER = 10**6
_LOOKED_AT = 200
"""Characters before a number that say whether it stands in a sentence."""

_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_SIGNS = {0x2044: "/", 0x066B: ".", 0x066C: ","}
_WRITTEN: list[tuple[regex.Pattern[str], str | Callable[[regex.Match[str]], str]]] = [
    (regex.compile(r"\\pi(?![A-Za-z])"), "π"),
    (
        regex.compile(r"\\[dtc]?frac\s*(?:\{\s*([^{}\\]+?)\s*\}|(\d))\s*(?:\{\s*([^{}\\]+?)\s*\}|(\d))"),
        "\ufffc\\1\\2/\\3\\4",
    ),
    (regex.compile(r"\\sqrt\s*(?:\{([^{}]*)\}|(?=\d))"), r"√\1"),
    (regex.compile(r"\\(?:times|cdot)\s*(?![A-Za-z])"), "×"),
    (regex.compile(r"\{,\}|\\[,!;]"), ","),
    (regex.compile(r"\^\{\s*([-\u2212+]?\d+)\s*\}"), r"^\1"),
    (regex.compile(r"(?<=[0-9])\s*[⁺⁻]?[⁰¹²³⁴-⁹]+"), lambda match: "^" + match[0].strip().translate(_RAISED)),
    # The power of a unit: 9.8 m/s^2.
    (regex.compile(r"(?<=[0-9][^\n]{0,40}\p{L}\}?)\s?\^\s?[-\u2212]?[0-9]+"), ""),
    # A minus before the currency belongs to the number behind it.
    (regex.compile(r"(?<=[-\u2212]) ?\p{Sc}+ ?(?=[0-9.])"), ""),
    # What stands before a fraction: a whole number or nothing.
    (regex.compile("(?<=[0-9])\ufffc"), " "),
    (regex.compile("\ufffc"), ""),
]


@dataclass(frozen=True, slots=True)
class Number:
    """A number, or what is written with several of them as one."""

    text: str
    """As it is written, in ASCII, without thousands separators."""
    value: Decimal | None
    """What it is worth; None for what is not one number: a time, a date, a ratio, a range, a product."""
    shape: tuple[str, ...]
    """What stands between its parts; of a plain number nothing."""
    parts: tuple[Decimal, ...]
    start: int
    end: int

    def equals(self, other: Number) -> bool:
        """Return whether both are worth the same, or are written alike with the same parts, as `_close` has it."""
        if self.text == other.text:
            return True
        if self.value is not None and other.value is not None:
            return _close(self.value, other.value)
        are_alike = self.value is other.value and self.shape == other.shape and len(self.parts) == len(other.parts)
        return are_alike and all(map(_close, self.parts, other.parts))


def last_number(text: str) -> str | None:
    """Return the last number of a text without thousands separators, such as `-1234.50`; None if there is none.

    Thousands are set apart by commas, apostrophes or spaces, and by points where a second point or a decimal comma
    leaves no doubt: `$1,234.50.`, `1 234.50`, `1'234.50` and `1.234,50` give `1234.50`. Otherwise a point is decimal,
    and a comma is not: `1.234` stays, and `1,2` gives `2`. Versions and dates such as `1.2.3` are no numbers. What is
    written with several numbers as one comes whole: `3/2`, `7 1/2`, `09:30`, `2023-12-05`, `3:2`, `3-5`, `10^3`.
    """
    found = read_numbers(text)
    return found[-1].text if found else None


def wanted_numbers(target: str) -> list[Number]:
    """Return the numbers that an answer must give: the last one, or all of a list with nothing but signs between."""
    plain, found = _plain(target), read_numbers(target)
    around = [plain[: found[0].start]] if found else []
    around += [plain[a.end : b.start] for a, b in pairwise(found)]
    is_list = not any(_RESULT.search(text) for text in around)
    return found if is_list else found[-1:]


def read_numbers(text: str) -> list[Number]:
    """Return the numbers of a text in order; `start` and `end` count the characters of the text in plain signs."""
    text = _plain(text)
    found = list(_NUMBER.finditer(text))
    joints = [_joint(text, a, b) for a, b in pairwise(found)]
    for at, (a, b, c) in enumerate(zip(found, found[1:], found[2:], strict=False)):
        is_mixed = text[a.end() : b.start()] in _BLANK and joints[at + 1] == "/" and _is_proper(a, b, c)
        if is_mixed and (at == 0 or not joints[at - 1]) and (at + 2 == len(joints) or joints[at + 2] != "/"):
            joints[at] = " "
    numbers: list[Number] = []
    first = 0
    for at, match in enumerate(found):
        if at < len(joints) and _goes_on(text, found, joints, first, at):
            continue
        if match["parts"] is None:
            numbers.append(_number(text, found[first : at + 1], joints[first:at]))
        first = at + 1
    return numbers


def _plain(text: str) -> str:
    """Return the text in ASCII digits and signs."""
    text = "".join(c if c.isascii() else _plain_sign(c) for c in text)
    for pattern, sign in _WRITTEN:
        text = pattern.sub(sign, text)
    return text


def _plain_sign(sign: str) -> str:
    kind = unicodedata.decomposition(sign).partition(" ")[0]
    if kind == "<fraction>":
        return "\ufffc" + unicodedata.normalize("NFKC", sign).replace("\u2044", "/")
    if unicodedata.category(sign) == "Nd":
        return str(unicodedata.decimal(sign))
    if kind in ("<wide>", "<small>"):
        return unicodedata.normalize("NFKC", sign)
    return _SIGNS.get(ord(sign), sign)


def _joint(text: str, a: regex.Match[str], b: regex.Match[str]) -> str:
    """Return the sign that makes two neighbours one number, blank if they are two."""
    if a["parts"] is not None or b["parts"] is not None:
        return ""
    between = text[a.end() : b.start()]
    if tight := _TIGHT.fullmatch(between):
        return "-" if tight["dash"] else tight["sign"] or tight["unit"]
    before = text[max(0, a.start() - _LOOKED_AT) : a.start()]
    is_in_words = any(map(str.isalpha, before.rpartition("\n")[2]))
    if loose := _LOOSE.fullmatch(between):
        # `Day 2 : 7 apples` are two.
        is_label = loose["blank"] and loose["sign"] == ":" and is_in_words
        return "" if is_label else loose["sign"]
    if _RANGE.fullmatch(between):
        return "" if _FROM.search(before) else "-"  # `it rose from 3 to 5` ends with 5
    return "-" if _APART.fullmatch(between) and not is_in_words else ""


def _is_proper(whole: regex.Match[str], above: regex.Match[str], below: regex.Match[str]) -> bool:
    if whole["fraction"] or whole["exponent"] or len(_text(whole).lstrip("-")) > 3 or above["sign"] or below["sign"]:
        return False
    return _value(above) < _value(below)


def _goes_on(text: str, found: Sequence[regex.Match[str]], joints: Sequence[str], first: int, at: int) -> bool:
    """Return whether the number that began at `first` goes on after `at`."""
    if at == first and joints[at] and text[found[at].start() - 1 : found[at].start()].isalpha():
        return False  # the 2 of `v2:5`
    if joints[at]:
        return True
    # A date goes on with its time.
    is_date = joints[first:at] in (["-", "-"], ["/", "/"])
    is_time = at + 1 < len(joints) and joints[at + 1] == ":"
    return is_date and is_time and text[found[at].end() : found[at + 1].start()] in ("T", *_BLANK)


def _number(text: str, found: Sequence[regex.Match[str]], joints: Sequence[str]) -> Number:
    start, end = found[0].start(), found[-1].end()
    signs = [joint or " " for joint in joints]
    written = _text(found[0]) + "".join(sign + _text(match) for sign, match in zip(signs, found[1:], strict=True))
    shape, parts, factor = signs, tuple(map(_value, found)), 0
    if prefix := _PREFIX.search(text[max(0, start - 4) : start]):
        sign = prefix[0].replace(" ", "")
        written, shape, start = sign + written, [sign, *shape], start - len(prefix[0])
    if text[end : end + 1] == "π":
        written, shape, end = f"{written}π", [*shape, "π"], end + 1
    if ":" in shape and (half := _DAY_HALF.match(text, end)):
        written, shape, end = f"{written} {half[1].lower()}m", [*shape, half[1].lower()], half.end()
    if scale := _SCALE.match(text, end):
        name = (scale[1] or scale[2]).lower()
        written, factor, end = f"{written} {name}", _SCALES[name], scale.end()
        shape = [*shape, name] if shape else shape
    worth = _worth(parts, shape)
    return Number(written, worth and _EXACT.scaleb(worth, factor), tuple(shape), parts, start, end)


def _text(match: regex.Match[str]) -> str:
    whole = regex.sub("[^0-9]", "", match["points"] or match["spaces"] or match["plain"] or "")
    fraction = f".{match['fraction'][1:]}" if match["fraction"] else ""
    return ("-" if match["sign"] else "") + whole + fraction + (match["exponent"] or "")


def _value(match: regex.Match[str]) -> Decimal:
    return _EXACT.create_decimal(_text(match))


def _worth(parts: Sequence[Decimal], shape: Sequence[str]) -> Decimal | None:
    if not shape:
        return parts[0]
    found: Decimal | None = None
    if list(shape) == ["/"]:
        found = _EXACT.divide(*parts)
    elif list(shape) == [" ", "/"]:
        found = _EXACT.add(parts[0], _EXACT.divide(parts[1], parts[2]).copy_sign(parts[0]))
    elif shape[-1] in ("^", "**") and _EXACT.abs(parts[-1]) <= _MAX_POWER:
        if len(shape) == 1:
            found = _EXACT.power(*parts)
        elif len(shape) == 2 and shape[0] in _TIMES:  # 2.5 × 10^3
            found = _EXACT.multiply(parts[0], _EXACT.power(parts[1], parts[2]))
    return found if found is not None and found.is_finite() else None


def _close(a: Decimal, b: Decimal) -> bool:
    """Return whether two are equal: to six digits, whole numbers wholly, unless a power of ten rounds one of them."""
    if not (a.is_finite() and b.is_finite()):
        return False
    if all(int(each.as_tuple().exponent) <= 0 and each == each.to_integral_value() for each in (a, b)):
        return a == b
    return _EXACT.abs(_EXACT.subtract(a, b)) <= _EXACT.multiply(_SAME, max(_EXACT.abs(a), _EXACT.abs(b)))
