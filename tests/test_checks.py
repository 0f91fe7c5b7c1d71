"""The rules for values: what is taken comes back as it was given, and a refusal names its field."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from statusthing.errors import InvalidArgument
from statusthing.model import DEFAULT_COLOR, StatusKind
from statusthing.service import checks

TextCheck = Callable[[str, str], str]

# https://www.w3.org/TR/css-color-4/#named-colors, without the spellings of gray with an e.
CSS_NAMES = """
    AliceBlue AntiqueWhite Aqua Aquamarine Azure Beige Bisque Black BlanchedAlmond Blue BlueViolet
    Brown BurlyWood CadetBlue Chartreuse Chocolate Coral CornflowerBlue Cornsilk Crimson Cyan
    DarkBlue DarkCyan DarkGoldenRod DarkGray DarkGreen DarkKhaki DarkMagenta DarkOliveGreen
    DarkOrange DarkOrchid DarkRed DarkSalmon DarkSeaGreen DarkSlateBlue DarkSlateGray DarkTurquoise
    DarkViolet DeepPink DeepSkyBlue DimGray DodgerBlue FireBrick FloralWhite ForestGreen Fuchsia
    Gainsboro GhostWhite Gold GoldenRod Gray Green GreenYellow HoneyDew HotPink IndianRed Indigo
    Ivory Khaki Lavender LavenderBlush LawnGreen LemonChiffon LightBlue LightCoral LightCyan
    LightGoldenRodYellow LightGray LightGreen LightPink LightSalmon LightSeaGreen LightSkyBlue
    LightSlateGray LightSteelBlue LightYellow Lime LimeGreen Linen Magenta Maroon MediumAquaMarine
    MediumBlue MediumOrchid MediumPurple MediumSeaGreen MediumSlateBlue MediumSpringGreen
    MediumTurquoise MediumVioletRed MidnightBlue MintCream MistyRose Moccasin NavajoWhite Navy
    OldLace Olive OliveDrab Orange OrangeRed Orchid PaleGoldenRod PaleGreen PaleTurquoise
    PaleVioletRed PapayaWhip PeachPuff Peru Pink Plum PowderBlue Purple RebeccaPurple Red RosyBrown
    RoyalBlue SaddleBrown Salmon SandyBrown SeaGreen SeaShell Sienna Silver SkyBlue SlateBlue
    SlateGray Snow SpringGreen SteelBlue Tan Teal Thistle Tomato Turquoise Violet Wheat White
    WhiteSmoke Yellow YellowGreen
    """
NAMED_COLORS = re.sub(r"(\S*)Gray", r"\1Gray \1Grey", CSS_NAMES).split()

EVERY_CHARACTER = [chr(code) for code in range(0x110000)]
CONTROLS = [c for c in EVERY_CHARACTER if unicodedata.category(c) == "Cc"]
SURROGATES = [c for c in EVERY_CHARACTER if unicodedata.category(c) == "Cs"]
ENDS_A_LINE = [c for c in EVERY_CHARACTER if len(f"a{c}b".splitlines()) > 1]
IN_TEXT = ["\t", "\n", "\r"]

TEXT_CHECKS = [checks.name, checks.description, checks.note_text]
LENGTHS = [200, 2_000, 10_000]


def refuses(check: Callable[[str, str], object], value: str) -> bool:
    """Tell whether the check refuses the value; a refusal names the field."""
    try:
        check("the_field", value)
    except InvalidArgument as refusal:
        error = refusal
    else:
        return False
    assert error.field == "the_field"
    assert str(error) == f"the_field {error.problem}"
    return True


@given(value=st.text(max_size=300) | st.text(alphabet=" \t\r\n\x85\u2028\u2029\x1fa", max_size=4))
@example(value="e\u0301")  # two code points that normalisation would join
@example(value=" padded ")
@example(value="\ufeff\u200b\u202e")
def test_text_that_is_taken_comes_back_as_given(value: str) -> None:
    """No check trims, normalises or otherwise changes what it takes."""
    for check in TEXT_CHECKS:
        assert refuses(check, value) or check("the_field", value) == value


@given(value=st.text(max_size=12))
def test_names_are_refused_for_their_documented_reasons_only(value: str) -> None:
    """A name is refused only if it is blank, has a character of Cc or Cs, or a line break."""
    bad = any(unicodedata.category(c) in {"Cc", "Cs"} or c in "\u2028\u2029" for c in value)

    assert refuses(checks.name, value) == (bad or not value.strip())


@given(value=st.text(max_size=12))
def test_descriptions_are_refused_for_control_characters_only(value: str) -> None:
    """A description may be empty, blank and have many lines, but has no other Cc and no Cs."""
    bad = any(unicodedata.category(c) in {"Cc", "Cs"} and c not in IN_TEXT for c in value)

    assert refuses(checks.description, value) == bad


@pytest.mark.parametrize(("check", "longest"), [*zip(TEXT_CHECKS, LENGTHS, strict=True)])
@pytest.mark.parametrize("character", ["a", "é", "\U0001f6a6"])
def test_lengths_are_counted_in_code_points(check: TextCheck, longest: int, character: str) -> None:
    """Length limits count code points, however many bytes each of them takes."""
    assert check("the_field", character * longest) == character * longest
    assert refuses(check, character * (longest + 1))


@pytest.mark.parametrize("check", TEXT_CHECKS)
def test_control_characters_are_refused(check: TextCheck) -> None:
    """No text may have a character of category Cc anywhere, except tab, LF and CR."""
    controls = [c for c in CONTROLS if c not in IN_TEXT]

    assert len(controls) == 62
    for character in controls:
        for value in (f"a{character}b", f"{character}b", f"a{character}"):
            assert refuses(check, value)


@pytest.mark.parametrize("check", TEXT_CHECKS)
def test_lone_surrogates_are_refused(check: TextCheck) -> None:
    """No text may have half of a surrogate pair, because it cannot be encoded in UTF-8."""
    assert [c for c in SURROGATES if not refuses(check, f"a{c}")] == []


def test_a_refused_character_is_named() -> None:
    """The message names the bad character, because it may be invisible."""
    with pytest.raises(InvalidArgument, match=r"^text has a control character, U\+0000$"):
        checks.note_text("text", "a\x00b")


@pytest.mark.parametrize("check", [checks.description, checks.note_text])
@pytest.mark.parametrize("character", IN_TEXT, ids=lambda c: f"U+{ord(c):04X}")
def test_descriptions_and_notes_have_lines(check: TextCheck, character: str) -> None:
    """Tab, LF and CR are allowed in descriptions and notes."""
    assert check("the_field", f"a{character}b") == f"a{character}b"


@pytest.mark.parametrize("character", ENDS_A_LINE, ids=lambda c: f"U+{ord(c):04X}")
def test_names_are_one_line(character: str) -> None:
    """A name has no line break of any kind: LF, CR, U+0085, U+2028 and U+2029 among them."""
    for value in (f"a{character}b", f"{character}b", f"a{character}"):
        assert refuses(checks.name, value)


@pytest.mark.parametrize("check", [checks.name, checks.note_text])
@pytest.mark.parametrize("value", ["", " ", "\u3000\u00a0 ", "\u2003"])
def test_required_text_is_not_blank(check: TextCheck, value: str) -> None:
    """Text that `str.strip` empties counts as missing, and the message says so."""
    with pytest.raises(InvalidArgument, match="is required and cannot be blank"):
        check("the_field", value)


def test_css_names_148_colors() -> None:
    """The list in this test is as long as the one in the recommendation."""
    assert len(set(NAMED_COLORS)) == 148


def test_every_css_name_is_a_color() -> None:
    """Every colour name of CSS is accepted in any case, and kept as it was written."""
    for name in NAMED_COLORS:
        for value in (name, name.lower(), name.upper()):
            assert checks.color("color", value) == value


@pytest.mark.parametrize("value", ["#abc", "#ABC", "#09f", "#5DFC0A", "#ffffff", DEFAULT_COLOR])
def test_hexadecimal_colors(value: str) -> None:
    """Three or six hexadecimal digits after `#` are a colour, kept as it was written."""
    assert checks.color("color", value) == value


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "#", "#12", "#1234", "#12345", "#1234567", "#12345678", "123456", "#ggg"),
        *("#abc ", " #abc", "#abc\n", "red\n", " red", "light blue", "lightblu", "no such"),
        *("transparent", "currentcolor", "Canvas", "ButtonText", "inherit", "none"),
        *("rgb(1,2,3)", "hsl(0 0% 0%)", "var(--x)", "red;background:url(//x)", "url(x)"),
        *("pin\u212a", "#\uff11\uff12\uff13", "\uff52ed"),  # KELVIN SIGN lowers to an ASCII k
    ],
)
def test_other_colors_are_refused(value: str) -> None:
    """Everything else is refused, system colours and CSS functions included."""
    assert refuses(checks.color, value)


@given(value=st.from_regex(re.compile(r"#?[0-9A-Fa-fg]{0,8}"), fullmatch=True))
def test_only_three_or_six_digits_are_a_color(value: str) -> None:
    """Any other number of digits, and any other digit, is refused."""
    good = value[:1] == "#" and len(value) in {4, 7} and "g" not in value

    assert refuses(checks.color, value) == (not good)


@pytest.mark.parametrize(
    ("number", "kind"), [pair for pair in enumerate(StatusKind) if pair[0]], ids=str
)
def test_kinds_are_taken_by_themselves_and_by_number(number: int, kind: StatusKind) -> None:
    """A kind and its number on the wire mean the same."""
    assert checks.kind("kind", kind) is kind
    assert checks.kind("kind", number) is kind


@pytest.mark.parametrize("value", [0, StatusKind.UNKNOWN, -1, 12, 2**31])
def test_unknown_kinds_are_refused(value: int | StatusKind) -> None:
    """UNKNOWN, and a number that no kind has, are refused in records and in filters."""
    for check in (lambda: checks.kind("k", value), lambda: checks.kinds("k", [1, value])):
        with pytest.raises(InvalidArgument, match=r"^k is ") as refusal:
            check()

        assert refusal.value.field == "k"


@given(value=st.from_regex(re.compile(r"[A-Za-z0-9._~-]{1,64}"), fullmatch=True))
def test_ids_of_the_documented_form_can_exist(value: str) -> None:
    """Every id of the form that the contract allows can be chosen and looked up."""
    assert checks.new_id("id", value) == value
    assert checks.can_exist(value)


@pytest.mark.parametrize(
    "value", ["", "a" * 65, "a b", "a/b", "a\n", "é", "a\x00", "\ud800", "٣", "a'--"]
)
def test_other_ids_can_not_exist(value: str) -> None:
    """An id of another form is refused if it is chosen, and matches nothing in a filter."""
    assert refuses(checks.new_id, value)
    assert not checks.can_exist(value)
    assert checks.possible_ids("status_ids", [value, "good"]) == {"good"}


def test_an_id_has_to_be_given() -> None:
    """An id to look up has to be given, whether or not it can exist."""
    assert refuses(checks.required_id, "")
    assert checks.required_id("id", "no such id!") == "no such id!"


@pytest.mark.parametrize("value", ["k", "a b", "~!@", "k" * 128])
def test_idempotency_keys_are_printable_ascii(value: str) -> None:
    """1 to 128 printable ASCII characters are a key."""
    assert checks.request_id("request_id", value) == value


@pytest.mark.parametrize("value", ["k" * 129, "é", "a\n", "a\x7f", "a\x00"])
def test_other_idempotency_keys_are_refused(value: str) -> None:
    """A key that is longer, or has another character, is refused."""
    assert refuses(checks.request_id, value)


def test_a_mask_takes_the_paths_that_can_be_set() -> None:
    """A mask is the set of its paths; the refusal of an unknown one lists those that exist."""
    assert checks.mask(["name", "name"], ("name", "color")) == {"name"}
    assert checks.mask([], ("name",)) == frozenset()
    with pytest.raises(InvalidArgument, match=r"'colour'; it takes name, color$") as refusal:
        checks.mask(["name", "colour"], ("name", "color"))
    assert refusal.value.field == "update_mask"
