"""Purposes of consent: which of them a denial must not name, format by format."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from stream.errors import SettingsError
from stream.formats.documents import read_documents
from stream.formats.event_format import CONSENT
from stream.formats.registry import format_named
from stream.setting_rules import words_of
from tests.support.foreign.shop import START_MS, iso


def _call(context: dict[str, Any]) -> bytes:
    call = {"type": "track", "event": "Product Viewed", "userId": "u", "timestamp": iso(START_MS)}
    return json.dumps({**call, "properties": {"sku": "a"}, "context": context}).encode()


def _categories(**given: Any) -> bytes:
    return _call({"consent": {"categoryPreferences": given}})


def _ids(denied: Any) -> bytes:
    return _call({"consentManagement": {"allowedConsentIds": [], "deniedConsentIds": denied}})


def _row(**privacy: Any) -> bytes:
    row = {"event_name": "view_item", "user_pseudo_id": "u", "event_timestamp": START_MS * 1_000}
    return json.dumps({**row, "items": [{"item_id": "a"}], "privacy_info": privacy}).encode()


def _body(**consent: Any) -> bytes:
    event = {"name": "view_item", "params": {"items": [{"item_id": "a"}]}}
    body = {"client_id": "u", "timestamp_micros": START_MS * 1_000, "events": [event]}
    return json.dumps({**body, "consent": consent}).encode()


def _enriched(**preferences: Any) -> bytes:
    entity = "contexts_com_snowplowanalytics_snowplow_consent_preferences_1"
    event = {"event": "page_view", "event_name": "page_view", "page_title": "Tents"}
    who = {"user_id": "u", "collector_tstamp": iso(START_MS)}
    return json.dumps({**event, **who, entity: [preferences]}).encode()


SELECTED: Final = "allow_selected"

GIVEN: Final[dict[str, list[tuple[bytes, str, bool]]]] = {
    "segment": [
        (_categories(Analytics=False, Ads=True), "", False),
        (_categories(Analytics=False, Ads=True), "Analytics", False),
        (_categories(Analytics=False, Ads=True), "Ads,Analytics", False),
        (_categories(Analytics=False, Ads=True), "Ads", True),
        (_categories(Analytics=False, Ads=True), "ads", True),  # names are as they are written
        (_categories(Analytics=False), "Ads", True),  # nothing is said of it: it is not denied
        (_categories(Ads="no"), "Ads", True),
        (_call({}), "Ads", True),
    ],
    "rudderstack": [
        (_ids(["C2"]), "", False),
        (_ids(["C2"]), "C2", False),
        (_ids(["C2"]), "C1,C3", True),
        (_ids([]), "C2", True),
        (_ids("C2"), "C2", False),
        (_ids({"C2": 1}), "C1", False),  # what it says is not known
        (_ids([2]), "C1", False),
        (_categories(C1=False), "C1", False),
        (_categories(C1=False), "C2", True),
    ],
    "ga4": [
        (_row(analytics_storage="No"), "", False),
        (_row(ads_storage="No"), "", True),
        (_row(ads_storage="No"), "ads_storage", False),
        (_row(analytics_storage="No"), "ads_storage", True),
        (_body(ad_user_data="DENIED"), "", False),
        (_body(ad_user_data="DENIED"), "ad_user_data", False),
        (_body(ad_user_data="DENIED"), "ad_personalization,analytics_storage", True),
    ],
    "snowplow": [
        (_enriched(eventType="deny_all"), "", False),
        (_enriched(eventType="deny_all"), "ads", False),
        (_enriched(eventType="withdrawn"), "ads", False),
        (_enriched(eventType=SELECTED, consentScopes=["ads"]), "", True),
        (_enriched(eventType=SELECTED, consentScopes=["ads"]), "ads", True),
        (_enriched(eventType=SELECTED, consentScopes=["ads"]), "ads,analytics", False),
        (_enriched(eventType=SELECTED), "ads", False),  # nothing is selected
        (_enriched(eventType="allow_all", consentScopes=[]), "ads", True),
    ],
}
"""A document, the purposes that are asked for, and whether it is used."""


@pytest.mark.parametrize("name", GIVEN)
def test_an_event_is_used_unless_a_purpose_of_it_was_denied(name: str) -> None:
    for value, purposes, used in GIVEN[name]:
        event_format = format_named(name, purposes=words_of(purposes))
        reading = read_documents(event_format, value, (), START_MS)
        told = (value, purposes)
        assert len(reading.events) == used, told
        assert dict(reading.dropped) == ({} if used else {CONSENT: 1}), told


def test_ga4_names_its_purposes() -> None:
    with pytest.raises(SettingsError, match="'Analytics', and events of ga4 name analytics_st"):
        format_named("ga4", purposes=words_of("Analytics,ads_storage"))
