"""Casts what documents of the owners' formats hold into texts, moments and rows, for the audit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from stream.audit.documents import Meant, NotReadableError
from stream.audit.event_rules import json_object

NO_ID: Final = {"null", "none", "nil", "nan", "n/a", "undefined", "\\n"} | {
    "(not set)",
    "(null)",
    "(none)",
}
LISTED_HERE: Final = {
    "viewed_product",
    "viewed_product_category",
    "clicked_product",
    "added_product",
    "removed_product",
    "product_list_filtered",
    "viewed_promotion",
    "clicked_promotion",
    "promotion_clicked",
    "cart_viewed",
    "cart_shared",
    "order_updated",
    "wishlist_product_added_to_cart",
    "video_content_started",
    "video_content_completed",
}
"""Names of calls, beside those that models/compact.py lists, whose title is what they are about."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ISO: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"([Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)?"
)


def object_of(document: bytes) -> dict[str, Any]:
    found = json_object(document)
    if found is None:
        raise NotReadableError
    return found


def part_of(found: Mapping[str, Any], name: str, kind: type) -> Any:
    """Returns a part of an object that must have a kind, None if there is none."""
    part = found.get(name)
    if part is not None and not isinstance(part, kind):
        raise NotReadableError
    return part


def needed(text: str | None) -> str:
    if text is None:
        raise NotReadableError
    return text


def first_of(*moments: int | None) -> int:
    for moment in moments:
        if moment is not None:
            return moment
    raise NotReadableError


def words_of(value: Any) -> str | None:
    """Returns a text without the spaces around it; the digits of a whole number."""
    if value is None:
        return None
    if not isinstance(value, str):
        whole = isinstance(value, int) or (isinstance(value, float) and value == value // 1)
        most = 2**53 - 1 if isinstance(value, float) else 2**63 - 1
        if isinstance(value, bool) or not whole or not -most - 1 <= value <= most:
            raise NotReadableError
        value = str(int(value))
    return value.strip() or None


def id_of(value: Any) -> str | None:
    text = words_of(value)
    return None if text is None or text.lower() in NO_ID else text


def item_of(found: Mapping[str, Any]) -> str | None:
    for name in ("product_id", "sku", "item_id", "asset_id", "content_id"):
        if text := id_of(found.get(name)):
            return text
    return None


def categories_of(value: Any) -> list[str] | None:
    several = value if isinstance(value, list) else [value]
    return [text for each in several if each != "" and (text := words_of(each))] or None


def listed(shared: dict[str, Any], rows: Iterable[dict[str, Any]]) -> Meant:
    """Returns an event of each row with a subject, numbered by its place."""
    meant = Meant()
    for place, row in enumerate(rows):
        if not (row.get("item_id") or row.get("title")):
            meant.dropped += 1
            continue
        event_id = shared.get("event_id")
        numbered = {"event_id": f"{event_id}#{place}"} if event_id else {}
        meant.events.append({**shared, **row, **numbered})
    return meant


def folded(name: str) -> str:
    humped = re.sub("(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return re.sub(r"[\W_]+", "_", humped).strip("_").lower()


def utc_ms(value: Any) -> int | None:
    """Returns the milliseconds of an ISO 8601 time, in UTC where no zone stands."""
    if value is None or value == "":
        return None
    found = _ISO.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise NotReadableError
    date, clock, second, fraction, zone = found.groups()
    zone = (zone or "Z").upper().replace("Z", "+00:00")
    zone = zone + ":00" if len(zone) == 3 else zone
    zone = f"{zone[:3]}:{zone[-2:]}"
    leap = second == "60"
    try:
        moment = datetime.fromisoformat(f"{date}T{clock}:{'59' if leap else second}{zone}")
    except ValueError:
        raise NotReadableError from None
    whole = (moment - _EPOCH) // timedelta(seconds=1) + leap
    milliseconds = whole * 1000 + int(((fraction or "") + "000")[:3])
    if not 0 <= milliseconds <= 253_402_300_799_999:
        raise NotReadableError
    return milliseconds


def moment_of(value: Any) -> int | None:
    """Returns a time as text, or as a number of the one unit in which it lies after 2000."""
    if isinstance(value, str) and re.fullmatch("[0-9]{1,19}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return utc_ms(value)
    for times, divisor in ((1, 1), (1000, 1), (1, 1000), (1, 1_000_000)):
        moment = (
            value * times // divisor
            if isinstance(value, int)
            else round(value * times / divisor)
            if abs(value) < 1e30
            else -1
        )
        if 946_684_800_000 <= moment <= 253_402_300_799_999:
            return moment
    return _dated(value)


def _dated(number: float) -> int:
    """Returns the milliseconds of a date in UTC whose digits a number is, such as 20260105."""
    digits = str(number) if isinstance(number, int) and number > 0 else ""
    if len(digits) not in (8, 10, 12, 14):
        raise NotReadableError
    try:
        moment = datetime.strptime(digits.ljust(14, "0"), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        raise NotReadableError from None
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def micros_of(value: Any) -> int | None:
    return _unix(value, 1_000)


def milliseconds_of(value: Any) -> int | None:
    return _unix(value, 1)


def _unix(value: Any, divisor: int) -> int | None:
    """Returns Unix milliseconds of a number, or of its digits."""
    if value is None or value == "":
        return None
    if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,19}(\.[0-9]{1,12})?", value):
        value = float(value) if "." in value else int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) >= 1e30:
        raise NotReadableError
    return value // divisor if isinstance(value, int) else round(value / divisor)


def number_of(value: Any) -> float | None:
    if value is None or value == "":
        return None
    written = isinstance(value, str) and re.fullmatch(
        r"[+-]?[0-9]{1,300}(\.[0-9]{1,300})?([eE][+-]?[0-9]{1,3})?", value
    )
    if isinstance(value, bool) or not (written or isinstance(value, int | float)):
        raise NotReadableError
    number = float(value)
    if number - number != 0:
        raise NotReadableError
    return number
