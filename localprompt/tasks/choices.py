"""Which of several lettered options a text names. Level 3.

Chat models write `**B**`, `Answer: (B)`, `B, because ...`, `答案：B` or `the answer is b`; and they write "a dog" and
"I think", where the letter is a word. What cannot be told from a word, and what names two options, names none.
"""

from __future__ import annotations

import regex

from localprompt.tasks.normalising import plain

# "e.g." and "U.S." begin with no option.
_OPTION = regex.compile(
    r"\s*(?:\(([A-Za-z])\)|\[([A-Za-z])\]|([A-Za-z])(?=[):]|\.(?!\w\b)|[ \t]+-\s|\s*(?:\n|$)))[).:]?\s*(.*)",
    regex.DOTALL,
)
# What else may follow the letter that an answer begins with: after a blank, only what goes on about an option.
_BEGUN = regex.compile(
    r"\s*(?![Ii],)([A-Za-z])(?=[,;!?>\"]|\.\.\.|\t|[ ]{2}|[ ]?\||[ \t]+(?:because|since|as|rather|instead)\b"
    r"|(?<=[A-Z])\s?(?:选项|選項|项|項|是正|です|が正|입니다|이다)|(?<=[B-HJ])[ ](?:[\p{Lu}\p{Lo}]|[0-9$(]))(.*)",
    regex.DOTALL,
)
_MARKED = regex.compile(
    r"(?<!\w)(\*{1,3}|__?|`|\$)[(\[]?([A-Za-z])[.):\]]*\1(?!\w)|\\boxed\{(?:\\text\{)?\(?([A-Za-z])\)?\}{1,2}"
    r"|(?<!\w)[\"']([A-Z])[.,]?[\"'](?!\w)|\A\s*[\"']([a-z])[.,]?[\"'](?!\w)"
)
_MARKS = regex.compile(r"[*`$\p{Extended_Pictographic}]|__|</?(?i:answer)>")
# A and I before a word are words themselves, unless the word goes on about the option.
_LETTER = r"([A-Za-z])(?![\w'])(?!(?<=[AaIi])[ \t]+(?!(?:because|since|as|is|or|and)\b)\w)"
_BRACKETED = r"(?<![\p{Latin}\d_])[(\[]([A-Za-z])[)\]]"
_OPTION_WORD = r"(?:option|choice|letter|opci[oó]n|opção|opzione|letra|lettre|lettera|Buchstabe|вариант|选项|選項)"
_VERB = r"\s+(?:is|was|would\s+be|should\s+be|must\s+be)"
_UNLIKE = r"(?i:wrong|incorrect|false|least|missing|whether)"
_SAID = regex.compile(
    rf"(?<!{_UNLIKE}\s)\b(?i:(?:answer(?:{_VERB})?|(?:option|choice)(?:{_VERB}|(?=\s*[:=])))"
    rf"(?:\s*[:=]\s*|\s+(?:-\s+)?)(?:{_OPTION_WORD}\s+)?)[(\[\"']?{_LETTER}"
)
_TEXT = regex.compile(rf"\b(?i:answer)(?:{_VERB}\s*:?|\s*:)\s*([^\n]+)")
_CORRECT = regex.compile(
    r"(?<![\w'])(?<!\bor )(?<!\bnor )(?<!\band )[(\[]?([A-Za-z])[)\]]?\s+is\s+(?:the\s+)?"
    r"(?:(?:most|only)\s+)?(?:correct|right|best|answer)\b"
)
_MENTIONED = regex.compile(
    rf"(?<!\bnot )(?:{_BRACKETED}|\b(?i:{_OPTION_WORD})\s+(?:([A-HJ-Z])(?![\w'])|{_LETTER}))"
    r"(?!\s+is\s+(?:wrong|incorrect|false|not)\b)"
)
_LISTED = r"[;|+](?=\s*[(\[]?[A-Za-z][)\]]?\s*(?:[;|+]|\Z))"
_JOINED = rf"(?:\s*(?:,|/|&|{_LISTED}|\b(?:or|and|oder|und|ou|et|y|o|e|или|и)\b|或者?|和|または))+"
_ANOTHER = regex.compile(rf"[)\].\"']*{_JOINED}\s*(?:(?i:{_OPTION_WORD})\s+)?(?:{_BRACKETED}|{_LETTER})")
_SUBJECT = regex.compile(rf"(?:[A-Za-z]|\([A-Za-z]\)|\[[A-Za-z]\])(?:{_ANOTHER.pattern})*\s+(?:is|are|was|were)\b")
"""What an answer says of options, `A and C are wrong`, is not yet its choice."""
_LEFT_OPEN = r"[\"(\[]?([A-HJ-Z])(?![\p{Latin}\d_'])"
"""A letter behind words that leave no doubt what it is."""
_CLAUSE_END = r"(?=[\")\]]*\s*(?:[.,;:!?\n-]|\Z|because\b|since\b|as\b))"
_CHOSEN = regex.compile(
    # I'd go with B. It must be B!
    rf"""\b(?i:cho?ose|pick(?:ed)?|select(?:ed)?|(?:go|going|went)\s+with|opt\s+for|vote\s+for|say|think|believe|guess
          |prefer|it'?s|it\s+is|that'?s|this\s+is|(?:must|would|should)\s+be|definitely|probably|clearly|likely|certainly
          |obviously|surely|therefore|so|hence|thus|elijo|escojo|choisis|wähle|scelgo|escolho|выбираю|kies|wybieram)
        ,?\s+(?i:that\s+)?(?i:it'?s\s+|it\s+is\s+)?(?i:(?:the|answer|{_OPTION_WORD})\s+)*{_LEFT_OPEN}{_CLAUSE_END}
      # The answer to the question is B. The answer's B.
      | (?<!{_UNLIKE}\s)\b(?i:answer|option|choice|statement|letter)
        (?:'s|\b(?:(?!{_UNLIKE})[^\n.!?;:A-Z]){{0,40}}?\s(?:is|be)):?
        \s+(?:(?:indeed|thus|most|probably|likely|clearly)\s+)*{_LEFT_OPEN}{_CLAUSE_END}
      # Réponse : B
      | ^[^\n:]{{1,40}}:\s*{_LEFT_OPEN}{_CLAUSE_END}
      # La respuesta correcta es la B. 答案是B选项。
      | (?i:respuesta|r[eé]ponse|antwort|lösung|risposta|resposta|gabarito|antwoord|svaret?|vastaus|odpowiedź|odpověď
          |válasz|răspuns|ответ|відповідь|απάντηση|cevap|yanıt|jawaban(?:nya)?|đáp\ án|câu\ trả\ lời
          |الإجابة|الجواب|उत्तर|คำตอบ
          |答案|回答|答え|解答|正解|答|정답|답)
        [^\n.!?A-Z]{{0,25}}?{_LEFT_OPEN}
      | (?:选择?|選擇?|選ぶのは)\s*{_LEFT_OPEN}""",
    regex.VERBOSE | regex.MULTILINE,
)
_NOT = regex.compile(
    r"\b(?i:not|never|neither|nor|no(?!,)|cannot|nicht|kein\w*|pas|non|não|não|nie|niet|ikke|inte|не|ei|değil|không|bukan)\b"
    r"|n't\b|不|非|没|없|아니|ない|नहीं|ليست?\b"
)
_BRACKETS = str.maketrans("【〔《〈】〕》〉、。", "(((())))" + ",.")


def read_option(text: str) -> tuple[str | None, str]:
    """Return the letter an option begins with, upper case, and the rest; None and all of it if it begins with none."""
    match = _OPTION.fullmatch(_signs(text))
    if match is None:
        return None, text
    return (match[1] or match[2] or match[3]).upper(), match[4]


def read_choice(prediction: str) -> tuple[str | None, str]:
    """Return the letter of the one option that an answer names, upper case, or None; and what follows it, or all.

    It is the option that the answer begins with, if no other line begins with one; else the one that is said to be the
    answer; else the one that is chosen in other words; else the only one in brackets or called an option.
    """
    text = _MARKED.sub(lambda match: f"({match[2] or match[3] or match[4] or match[5]})", _signs(prediction))
    text = _MARKS.sub("", text).lstrip("-•#> \n\"'").rstrip(" \n\t\r\"'")
    first, rest = (None, text) if _SUBJECT.match(text) else _begun(text)
    others = {letter for line in text.splitlines()[1:] if (letter := read_option(line)[0])}
    if first is not None and others <= {first}:
        found = {first} | _following(rest, 0) | _said(text.splitlines()[0])
        return (first, rest.lstrip(',;!?|>". \t')) if found == {first} else (None, prediction)
    found = _said(text) or _chosen(text) or _letters(_MENTIONED, text)
    if not found and (said := _TEXT.findall(text)):
        return None, str(said[-1])
    return (found.pop() if len(found) == 1 else None), prediction


def _signs(text: str) -> str:
    """Return the text in ASCII's signs, letters in circles and brackets of other scripts too."""
    text = regex.sub("[Ⓐ-Ⓩⓐ-ⓩ]", lambda match: f"({chr((ord(match[0]) - ord('Ⓐ')) % 26 + ord('A'))})", text)
    return plain(regex.sub("[—―]", " - ", text).translate(_BRACKETS))


def _begun(text: str) -> tuple[str | None, str]:
    letter, rest = read_option(text)
    if letter is None and (match := _BEGUN.fullmatch(text)):
        return match[1].upper(), match[2]
    return letter, rest


def _said(text: str) -> set[str]:
    return _letters(_SAID, text) | _letters(_CORRECT, text)


def _chosen(text: str) -> set[str]:
    found: set[str] = set()
    for match in _CHOSEN.finditer(text):
        clause = regex.split(r"[.!?;\n]", text[: match.start()])[-1] + match[0]
        if not _NOT.search(clause):
            found |= {_letter(match)} | _following(text, match.end())
    return found


def _letters(pattern: regex.Pattern[str], text: str) -> set[str]:
    """Return the letters that a pattern finds and those joined to them, as in `A or B`; upper case."""
    found: set[str] = set()
    for match in pattern.finditer(text):
        found |= {_letter(match)} | _following(text, match.end())
    return found


def _following(text: str, end: int) -> set[str]:
    found: set[str] = set()
    while (match := _ANOTHER.match(text, end)) is not None:
        found.add(_letter(match))
        end = match.end()
    return found


def _letter(match: regex.Match[str]) -> str:
    return next(group for group in match.groups() if group).upper()
