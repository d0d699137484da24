"""Texts of policies: JSON, globs, variables, and the operators of conditions with their operands.

Sources: AWS IAM User Guide, IAM JSON policy elements: Condition operators, Variables and tags,
Resource; RFC 4291 for addresses; W3C, Date and Time Formats.
"""

import base64
import binascii
import dataclasses
import datetime
import decimal
import functools
import ipaddress
import json
import re
import string
from typing import Callable

COLLIDING = object()  # the fact about keys that differ in case only
LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


class Malformed(Exception):
    """A document that must be refused; where names it."""

    def __init__(self, why, where=None):
        super().__init__(why)
        self.where = where


def fold(name):
    return name.translate(LOWER)


def load(text):
    def members(pairs):
        if len({name for name, _ in pairs}) != len(pairs):
            raise Malformed("member twice")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=members)
    except (ValueError, RecursionError):
        raise Malformed("no JSON") from None


def value_text(value):
    """Values of conditions may be written as numbers and booleans."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float, str)):
        return str(value)
    raise Malformed("value of a condition")


def facts(context):
    """What a request says, by folded name: a text, a list of texts, or COLLIDING."""
    found = {fold(name): value for name, value in context["slots"].items() if value is not None}
    for prefix, pairs in context["families"].items():
        for name, value in pairs:
            key = fold(prefix + name)
            found[key] = COLLIDING if key in found else value
    now = context["now_ms"]
    moment = datetime.datetime.fromtimestamp(now // 1000, datetime.timezone.utc)
    found["aws:currenttime"] = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    found["aws:epochtime"] = str(now // 1000)
    return {name: text_of(value) for name, value in found.items()}


def text_of(value):
    return value if isinstance(value, list) or value is COLLIDING else value_text(value)


# -- globs and variables -----------------------------------------------------------------------

WRITTEN, LITERAL, VARIABLE = "written", "literal", "variable"


@functools.lru_cache(maxsize=20000)
def glob_expression(parts):
    """parts: (kind, text); wildcards count in what was WRITTEN."""
    def one(kind, text):
        if kind == LITERAL:
            return re.escape(text)
        return "".join({"*": ".*", "?": "."}.get(c) or re.escape(c) for c in text)

    return re.compile("".join(one(*part) for part in parts), re.S)


def glob(pattern, text):
    return bool(glob_expression(((WRITTEN, pattern),)).fullmatch(text))


def template(text, variables):
    """Pieces of a text with ${...}: ("written", t), ("literal", t), ("variable", key, default)."""
    if not variables:
        return [(WRITTEN, text)]
    pieces = []
    for i, part in enumerate(re.split(r"\$\{([^}]*)\}", text)):
        if i % 2 == 0:
            if "${" in part:
                raise Malformed("unbalanced braces")
            pieces.append((WRITTEN, part))
        elif part in ("*", "?", "$"):
            pieces.append((LITERAL, part))
        else:
            found = re.fullmatch(r"\s*([^,'\s]+)\s*(?:,\s*'([^']*)'\s*)?", part)
            if not found:
                raise Malformed("variable")
            pieces.append((VARIABLE, fold(found[1]), found[2]))
    return [p for p in pieces if p[0] == VARIABLE or p[1]]


def expand(pieces, known):
    """The same with values in place of variables; None when one has no single value."""
    done = []
    for piece in pieces:
        if piece[0] == VARIABLE:
            value = known.get(piece[1])
            value = value if isinstance(value, str) else piece[2]
            if value is None:
                return None
            piece = (LITERAL, value)
        done.append(piece)
    return tuple(done)


def arn_fields(pieces):
    """Six lists of pieces, split at the first five colons as written; fewer if there are fewer."""
    fields = [[]]
    for piece in pieces:
        parts = piece[1].split(":", 6 - len(fields)) if piece[0] == WRITTEN else [None]
        fields[-1].append(piece if parts == [None] else (WRITTEN, parts[0]))
        fields.extend([(WRITTEN, part)] for part in parts[1:])
    return fields


def arn_match(fields, text):
    """fields: six tuples of expanded pieces."""
    subject = text.split(":", 5)
    return len(subject) == len(fields) == 6 and subject[0] == "arn" and all(
        glob_expression(f).fullmatch(s) for f, s in zip(fields, subject))


def resource_pattern(text, variables):
    """A test of a resource: True, False, or None where a variable has no value."""
    if text == "*":
        return lambda resource, known: True
    fields = arn_fields(template(text, variables))
    if len(fields) != 6 or fields[0] != [(WRITTEN, "arn")]:
        raise Malformed("resource")
    if any(piece[0] == VARIABLE for field in fields[:5] for piece in field):
        raise Malformed("variable before the fifth colon of a resource")

    def test(resource, known):
        last = expand(fields[5], known)
        if last is None:
            return None
        return arn_match([tuple(f) for f in fields[:5]] + [last], resource)

    return test


# -- operands: each maker takes (text, variables) and gives a test of (subject, facts) -----------

def with_variables(compare):
    def make(text, variables):
        pieces = template(text, variables)

        def test(subject, known):
            parts = expand(pieces, known)
            return parts is not None and compare(parts, subject)

        return test
    return make


def joined(parts):
    return "".join(text for _, text in parts)


@with_variables
def text_equal(parts, subject):
    return joined(parts) == subject


@with_variables
def text_equal_folded(parts, subject):
    return fold(joined(parts)) == fold(subject)


@with_variables
def text_like(parts, subject):
    return bool(glob_expression(parts).fullmatch(subject))


def arn_like(text, variables):
    pieces = template(text, variables)
    fields = arn_fields(pieces)

    def test(subject, known):
        if text == "*":
            return subject.startswith("arn:") and subject.count(":") >= 5
        done = [expand(field, known) for field in fields]
        return None not in done and arn_match(done, subject)

    return test


def boolean(text, variables):
    pieces = template(text, variables)
    if not any(piece[0] == VARIABLE for piece in pieces):
        parse_bool(text)

    def test(subject, known):
        parts = expand(pieces, known)
        return parts is not None and same(parse_bool, joined(parts), subject)

    return test


def same(parse, text, subject):
    try:
        return parse(text) == parse(subject)
    except Malformed:
        return False


def compared(parse, compare):
    """Without variables: the operand is read when the document is written."""
    def make(text, _):
        operand = parse(text)

        def test(subject, _):
            try:
                return compare(parse(subject), operand)
            except Malformed:
                return False

        return test
    return make


def parse_bool(text):
    if fold(text) not in ("true", "false"):
        raise Malformed("boolean")
    return fold(text) == "true"


def parse_number(text):
    if not re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", text):
        raise Malformed("number")
    return decimal.Decimal(text)


DATE = re.compile(r"(\d{4}-\d\d-\d\d)(?:T(\d\d:\d\d)(:\d\d)?(\.\d{3})?(Z|[+-]\d\d:\d\d))?", re.A)


def parse_date(text):
    """Milliseconds since 1970."""
    if re.fullmatch(r"[0-9]+", text):
        return int(text) * 1000
    found = DATE.fullmatch(text)
    if not found or found[4] and not found[3]:
        raise Malformed("date")
    day, minutes, seconds, fraction, zone = found.groups()
    iso = f"{day}T{minutes or '00:00'}{seconds or ':00'}{fraction or '.000'}{zone or 'Z'}"
    try:
        moment = datetime.datetime.fromisoformat(iso.replace("Z", "+00:00"))
    except ValueError:
        raise Malformed("date") from None
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    return (moment - epoch) // datetime.timedelta(milliseconds=1)


def parse_binary(text):
    """Only what base64 is written as: no bits to spare in the last letter."""
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("base64") from None
    if base64.b64encode(decoded).decode() != text:
        raise Malformed("base64")
    return decoded


def parse_network(text):
    """An IPv6 network; IPv4 is mapped below ::ffff:0:0/96."""
    address, slash, length = text.partition("/")
    value = parse_address(address)
    if slash and not re.fullmatch(r"[0-9]{1,3}", length):
        raise Malformed("prefix length")
    own = 32 if "." in address and ":" not in address else 128
    if slash and int(length) > own:
        raise Malformed("prefix length")
    keep = 128 - own + int(length) if slash else 128
    return ipaddress.IPv6Network((int(value), keep), strict=False)


def parse_address(text):
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise Malformed("address") from None
    if "%" in text:
        raise Malformed("address")
    if address.version == 4:
        return ipaddress.IPv6Address(0xFFFF << 32 | int(address))
    return address


def in_network(text, _):
    network = parse_network(text)

    def test(subject, _):
        try:
            return parse_address(subject) in network
        except Malformed:
            return False

    return test


def null(text, _):
    return parse_bool(text)


# -- operators ---------------------------------------------------------------------------------

@dataclasses.dataclass(frozen=True)
class Operator:
    name: str
    negated: bool
    operand: Callable


COMPARISONS = {
    "Equals": lambda a, b: a == b, "LessThan": lambda a, b: a < b,
    "LessThanEquals": lambda a, b: a <= b, "GreaterThan": lambda a, b: a > b,
    "GreaterThanEquals": lambda a, b: a >= b,
}


def operator_rows():
    for name, operand in (("StringEquals", text_equal), ("StringLike", text_like),
                          ("StringEqualsIgnoreCase", text_equal_folded),
                          ("ArnEquals", arn_like), ("ArnLike", arn_like)):
        yield name, False, operand
        yield re.sub("^(String|Arn)", r"\1Not", name), True, operand
    for family, parse in (("Numeric", parse_number), ("Date", parse_date)):
        for name, compare in COMPARISONS.items():
            yield family + name, False, compared(parse, compare)
        yield family + "NotEquals", True, compared(parse, COMPARISONS["Equals"])
    yield "Bool", False, boolean
    yield "BinaryEquals", False, compared(parse_binary, COMPARISONS["Equals"])
    yield "IpAddress", False, in_network
    yield "NotIpAddress", True, in_network
    yield "Null", False, null


NAMES = [name for name, _, _ in operator_rows()]
OPERATORS = {fold(name): Operator(fold(name), negated, operand)
             for name, negated, operand in operator_rows()}


def read_operator(name):
    """(set prefix, operator, IfExists) of "ForAllValues:StringLikeIfExists"."""
    found = re.fullmatch(r"(?:(forallvalues|foranyvalue):)?([a-z]+?)(ifexists)?", fold(name))
    operator = found and OPERATORS.get(found[2])
    if not operator or operator.name == "null" and (found[1] or found[3]):
        raise Malformed("operator")
    return found[1] or "", operator, bool(found[3])
