"""The API to the letter, by real sockets: every call of the contract and its answers."""

import json
from typing import Any

import pytest
import trio

from actors.settings import FsyncPolicy


async def test_health_is_healthy(house: Any) -> None:
    answer = await house.client.get("/api/health")
    assert answer.status_code == 200
    assert answer.json() == {"status": "healthy", "timestamp": 1_700_000_000_000}
    assert answer.headers["cache-control"] == "no-store"
    assert (await house.client.get("/livez")).status_code == 200
    assert (await house.client.get("/readyz")).status_code == 200


async def test_publish_consume_acknowledge(house: Any) -> None:
    answer = await house.client.post("/api/events?topic=orders/eu", json={"n": 1})
    assert answer.status_code == 202
    accepted = answer.json()
    assert list(accepted) == ["id", "timestamp", "status", "durability"]
    assert accepted["status"] == "queued"
    assert accepted["durability"] == "fsync"

    answer = await house.client.get("/api/events/consume?timeoutMs=0")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body["count"] == 1
    (event,) = body["events"]
    assert list(event) == ["id", "payload", "timestamp", "retries", "receiptId", "topic"]
    assert event["id"] == accepted["id"]
    assert event["payload"] == {"n": 1}
    assert event["timestamp"] == accepted["timestamp"]
    assert event["retries"] == 0
    assert event["topic"] == "orders/eu"

    receipt = event["receiptId"]
    assert await house.acknowledge(receipt) == {"acknowledged": [receipt], "failed": []}
    again = await house.acknowledge(receipt, "nonsense")
    assert "nonsense" in [failure["receiptId"] for failure in again["failed"]]
    assert all(failure["reason"] for failure in again["failed"])


@pytest.mark.parametrize(
    "payload",
    [
        b'{"a":1,"a":2}',
        b'{ "spaced" : [ 1 , 2.50 , 1E3 ] }\n',
        '{"ünï": "\\u00e9 😀 \\ud83d\\ude00"}'.encode(),
        b'{"big": 123456789012345678901234567890}',
        b"{}",
        b'{"a":' + b"[" * 99 + b"]" * 99 + b"}",
    ],
)
async def test_a_payload_comes_back_as_the_bytes_it_was(house: Any, payload: bytes) -> None:
    answer = await house.client.post("/api/events", content=payload)
    assert answer.status_code == 202
    answer = await house.client.get("/api/events/consume?timeoutMs=0")
    assert b'"payload":' + payload + b"," in answer.content
    assert answer.json()["events"][0]["topic"] is None


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "application/json",
        "Application/JSON; charset=UTF-8",
        'application/json;charset="utf-8"',
        "application/cloudevents+json",
    ],
)
async def test_publish_takes_json_however_it_is_called(
    house: Any, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    answer = await house.client.post("/api/events", content=b"{}", headers=headers)
    assert answer.status_code == 202


async def test_a_batch_is_taken_as_an_array_or_as_lines(house: Any) -> None:
    answer = await house.client.post("/api/events/batch?topic=t", json=[{"n": 0}, {"n": 1}])
    assert answer.status_code == 202
    body = answer.json()
    assert list(body) == ["events", "count", "durability"]
    assert (body["count"], body["durability"]) == (2, "fsync")
    assert [set(event) for event in body["events"]] == [{"id", "timestamp"}] * 2
    for content_type in ("application/x-ndjson", "application/jsonlines; charset=utf-8"):
        answer = await house.client.post(
            "/api/events/batch?topic=t",
            content=b'{"n":2}\r\n\n  {"n":3}',
            headers={"content-type": content_type},
        )
        assert answer.status_code == 202
    events = await house.take(100, topic="t")
    assert [event["payload"]["n"] for event in events] == [0, 1, 2, 3, 2, 3]


NEVER = FsyncPolicy(before_answer=False)


@pytest.mark.parametrize(
    ("fsync", "wanted", "done"),
    [
        (FsyncPolicy(), "os", "os"),
        (FsyncPolicy(), "FSYNC", "fsync"),
        (NEVER, "fsync", "fsync"),
        (NEVER, "os", "os"),
        (NEVER, None, "os"),
    ],
)
async def test_a_request_says_how_durable_and_hears_what_was_done(
    open_house: Any, fsync: FsyncPolicy, wanted: str | None, done: str
) -> None:
    params = {} if wanted is None else {"durability": wanted}
    async with open_house(fsync=fsync) as house:
        for path, content in (("/api/events", b"{}"), ("/api/events/batch", b"[{},{}]")):
            answer = await house.client.post(path, content=content, params=params)
            assert answer.status_code == 202
            assert answer.json()["durability"] == done
        assert len(await house.take(10)) == 3


async def test_a_bad_event_refuses_the_whole_batch_and_is_named(house: Any) -> None:
    for content in (
        b'[{},{"a":NaN}]',
        b"[{},[]]",
        b"[{},{]",
        b'[{},{"a":"\xff"}]',
        b'[{"a":"]"},{"a":"\\ud800"}]',
        b"[{}," + b'{"a":' * 101 + b"1" + b"}" * 101 + b"]",
    ):
        answer = await house.client.post("/api/events/batch", content=content)
        assert answer.status_code == 400
        assert answer.json()["code"] == "INVALID_PAYLOAD"
        assert "index 1 " in answer.json()["detail"], content
    assert await house.take() == []


async def test_a_batch_larger_than_the_queue_never_fits(open_house: Any) -> None:
    async with open_house(queue_max_size=2) as house:
        answer = await house.client.post("/api/events/batch", json=[{}] * 3)
        assert answer.status_code == 413
        assert answer.json()["code"] == "BATCH_TOO_LARGE"


async def test_a_full_queue_refuses_and_says_when_to_come_back(open_house: Any) -> None:
    async with open_house(queue_max_size=2) as house:
        await house.publish("{}", "{}")
        answer = await house.client.post("/api/events", json={})
        assert answer.status_code == 503
        assert answer.json()["code"] == "QUEUE_FULL"
        assert int(answer.headers["retry-after"]) >= 1
        assert (await house.client.get("/api/status")).json()["queue"] == {
            "size": 2,
            "maxSize": 2,
            "utilizationPercent": 100.0,
        }
        assert len(await house.take(10)) == 2


async def test_consume_takes_only_the_topic_that_was_asked_for(house: Any) -> None:
    await house.publish('{"n":1}', topic="a")
    await house.publish('{"n":2}', topic="b")
    assert [event["topic"] for event in await house.take(10, topic="b")] == ["b"]
    assert [event["topic"] for event in await house.take(10)] == ["a"]


async def test_consume_counts_are_defaulted_and_clamped(open_house: Any) -> None:
    async with open_house(max_events_per_poll=3) as house:
        answer = await house.client.post("/api/events/batch", json=[{}] * 120)
        assert answer.status_code == 202
        answer = await house.client.get("/api/events/consume?timeoutMs=0")
        assert answer.json()["count"] == 3
        assert len(await house.take(1000)) == 100


async def test_a_poll_waits_for_the_first_event(house: Any) -> None:
    answers = []

    async def poll() -> None:
        answers.append(await house.client.get("/api/events/consume?timeoutMs=10000"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(poll)
        await house.until(lambda status: status.parked_polls == 1)
        await house.publish('{"n":1}')
    assert answers[0].json()["events"][0]["payload"] == {"n": 1}


async def test_a_poll_ends_empty_after_its_time(open_house: Any) -> None:
    async with open_house(max_poll_timeout_ms=20) as house:
        answer = await house.client.get("/api/events/consume?timeoutMs=999999")
        assert answer.json() == {"events": [], "count": 0}
        answer = await house.client.get("/api/events/consume")
        assert answer.json() == {"events": [], "count": 0}


async def test_nack_brings_an_event_back_or_buries_it(house: Any) -> None:
    await house.publish('{"n":1}', topic="t")
    (event,) = await house.take()
    receipt = event["receiptId"]
    answer = await house.client.post(f"/api/events/{receipt}/nack?requeue=true&delayMs=0")
    assert answer.status_code == 200
    assert answer.json() == {"success": True, "receiptId": receipt}
    (event,) = await house.take()
    assert event["retries"] == 1
    last = event["receiptId"]
    answer = await house.client.post(f"/api/events/{last}/nack?requeue=False&delayMs=")
    assert answer.json() == {"success": True, "receiptId": last}

    answer = await house.client.get("/api/dlq?limit=5000&offset=0&topic=")
    body = answer.json()
    assert {key: body[key] for key in ("count", "total", "limit", "offset")} == {
        "count": 1,
        "total": 1,
        "limit": 1000,
        "offset": 0,
    }
    (entry,) = body["entries"]
    assert list(entry) == ["receiptId", "timestamp", "reason", "error", "record"]
    assert list(entry["record"]) == ["id", "ts", "topic", "payload", "retries"]
    assert entry["receiptId"] == last
    assert entry["reason"] == "rejected"
    assert entry["record"]["payload"] == {"n": 1}
    assert entry["record"]["topic"] == "t"
    assert (await house.client.get("/api/dlq?topic=other")).json()["entries"] == []


async def test_dead_letters_are_reprocessed_or_dropped(house: Any) -> None:
    ids = await house.publish('{"n":1}', '{"n":2}')
    receipts = [event["receiptId"] for event in await house.take(2)]
    for receipt in receipts:
        await house.client.post(f"/api/events/{receipt}/nack?requeue=false")
    answer = await house.client.post(f"/api/dlq/{receipts[0]}/reprocess")
    assert answer.status_code == 200
    assert answer.json()["success"] is True
    assert answer.json()["message"]
    assert answer.json()["eventId"] == ids[0]
    answer = await house.client.delete(f"/api/dlq/{receipts[1]}")
    assert answer.status_code == 200
    assert answer.json()["eventId"] == ids[1]
    for receipt in receipts:
        for answer in (
            await house.client.post(f"/api/dlq/{receipt}/reprocess"),
            await house.client.delete(f"/api/dlq/{receipt}"),
        ):
            assert answer.status_code == 404
            assert answer.json()["code"] == "DLQ_ENTRY_NOT_FOUND"
    assert [event["id"] for event in await house.take(5)] == [ids[0]]


async def test_extend_tells_the_new_deadline(house: Any) -> None:
    await house.publish("{}")
    (event,) = await house.take()
    receipt = event["receiptId"]
    path = f"/api/events/{receipt}/extend"
    answer = await house.client.post(f"{path}?visibilityTimeoutMs=43200000")
    assert answer.status_code == 200
    body = answer.json()
    assert body.keys() == {"success", "receiptId", "deadline"}
    shorter = (await house.client.post(path)).json()["deadline"]
    assert 0 < shorter < body["deadline"]


@pytest.mark.parametrize("receipt", ["nonsense", "x" * 400, "%20", "AAAAAAAAAAEAAAABAAAAAW__pYTf"])
@pytest.mark.parametrize("call", ["nack", "extend"])
async def test_an_unknown_receipt_is_not_found(house: Any, receipt: str, call: str) -> None:
    answer = await house.client.post(f"/api/events/{receipt}/{call}")
    assert answer.status_code == 404
    assert answer.json()["code"] == "EVENT_NOT_FOUND"


async def test_status_tells_where_the_events_are(house: Any) -> None:
    await house.publish("{}", "{}", topic="t")
    await house.publish("{}")
    (event,) = await house.take()
    status = (await house.client.get("/api/status")).json()
    assert status["queue"] == {"size": 2, "maxSize": 1000, "utilizationPercent": 0.2}
    assert status["inflight"]["count"] == 1
    (lease,) = status["inflight"]["events"]
    assert lease.keys() == {"id", "deadline", "retries"}
    assert lease["id"] == event["id"]
    assert status["committed"] == {"count": 0}
    assert status["dlq"] == {"count": 0}
    assert status["workers"] == {"active": 0, "total": 0}
    assert isinstance(status["uptime"], int)
    assert {"topic": None, "ready": 1, "delayed": 0} in status["topics"]
    assert {"topic": "t", "ready": 1, "delayed": 0} in status["topics"]
    assert all(box.keys() == {"actor", "waiting", "capacity"} for box in status["mailboxes"])
    assert status["parkedPolls"] == 0
    storage = status["storage"]
    assert 0 < storage["live"] < storage["size"] <= storage["written"]
    assert (storage["segments"], storage["full"]) == (1, False)


async def test_metrics_count_what_happened(house: Any) -> None:
    before = (await house.client.get("/api/metrics")).json()
    assert before["timestamps"]["lastEventTime"] is None
    await house.publish("{}")
    (event,) = await house.take()
    await house.acknowledge(event["receiptId"])
    metrics = (await house.client.get("/api/metrics")).json()
    assert metrics["events"] == {
        "enqueued": 1,
        "consumed": 1,
        "acknowledged": 1,
        "failed": 0,
        "dlq": 0,
    }
    assert metrics["latency"].keys() == {"avgProcessingMs", "maxProcessingMs"}
    assert metrics["timestamps"].keys() == {"startTime", "lastEventTime"}
    assert metrics["timestamps"]["lastEventTime"] == event["timestamp"]


async def test_the_front_page_is_json_or_html(house: Any) -> None:
    answer = await house.client.get("/")
    assert {"method": "GET", "path": "/api/dlq"}.items() <= answer.json()["endpoints"][7].items()
    answer = await house.client.get("/", headers={"accept": "text/html,*/*;q=0.8"})
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "<main>" in answer.text
    assert "script" not in answer.text


async def test_head_works_where_reading_is_harmless(house: Any) -> None:
    for path in ("/", "/api/health", "/api/status", "/api/dlq", "/readyz"):
        answer = await house.client.head(path)
        assert answer.status_code == 200, path
        assert answer.content == b""
    await house.publish("{}")
    answer = await house.client.head("/api/events/consume?timeoutMs=0")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET"
    assert len(await house.take()) == 1


async def test_closing_the_intake_leaves_settling_open(house: Any) -> None:
    await house.publish("{}")
    (event,) = await house.take()
    polled = []

    async def poll() -> None:
        polled.append(await house.client.get("/api/events/consume?timeoutMs=30000"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(poll)
        await house.until(lambda status: status.parked_polls == 1)
        house.broker.close_intake()
    assert polled[0].json() == {"events": [], "count": 0}
    readyz = await house.client.get("/readyz")
    assert readyz.status_code == 503
    assert readyz.json()["reason"]
    assert (await house.client.get("/api/health")).status_code == 200
    for answer in (
        await house.client.post("/api/events", json={}),
        await house.client.post("/api/events/batch", json=[{}]),
        await house.client.get("/api/events/consume"),
    ):
        assert answer.status_code == 503
        assert answer.json()["code"] == "SHUTTING_DOWN"
        assert int(answer.headers["retry-after"]) >= 1
    extended = await house.client.post(f"/api/events/{event['receiptId']}/extend")
    assert extended.status_code == 200
    assert (await house.acknowledge(event["receiptId"]))["failed"] == []


async def test_a_full_disk_refuses_new_events_and_nothing_else(open_house: Any) -> None:
    async with open_house(reserved_bytes=65_536) as house:
        await house.publish('{"n":1}', '{"n":2}', topic="t")
        house.disk.capacity = 0
        for path, content in (("/api/events", b"{}"), ("/api/events/batch", b"[{},{}]")):
            answer = await house.client.post(path, content=content)
            assert answer.status_code == 507
            assert answer.headers["content-type"] == "application/problem+json"
            assert int(answer.headers["retry-after"]) >= 1
            body = answer.json()
            assert (body["code"], body["title"]) == ("STORAGE_FULL", "Insufficient Storage")
        health = await house.client.get("/api/health")
        assert (health.status_code, health.json()["status"]) == (503, "unhealthy")
        assert health.json()["reason"]
        for path in ("/livez", "/readyz"):
            assert (await house.client.get(path)).status_code == 200
        house.disk.capacity = None
        with trio.fail_after(10):
            while (await house.client.get("/api/health")).status_code != 200:
                await trio.lowlevel.checkpoint()
        await house.publish('{"n":3}', topic="t")
        events = await house.take(10)
        assert [event["payload"]["n"] for event in events] == [1, 2, 3]


async def test_a_full_disk_lets_consumers_go_on(open_house: Any) -> None:
    async with open_house(reserved_bytes=65_536) as house:
        await house.publish('{"n":1}', '{"n":2}')
        house.disk.capacity = 65_536  # of which the log and its reserve have more
        answer = await house.client.post("/api/events", content=b"{}")
        assert answer.status_code == 507
        first, second = await house.take(10)
        assert (await house.acknowledge(first["receiptId"]))["failed"] == []
        answer = await house.client.post(f"/api/events/{second['receiptId']}/nack?delayMs=0")
        assert answer.status_code == 200
        assert [event["payload"] for event in await house.take(10)] == [{"n": 2}]
        assert (await house.client.post("/api/events", json={})).status_code == 507


async def test_many_receipts_settle_at_once(house: Any) -> None:
    await house.client.post("/api/events/batch", json=[{"n": n} for n in range(300)])
    receipts = [e["receiptId"] for _ in range(3) for e in await house.take(100)]
    body = await house.acknowledge(*receipts, *["unknown"] * 700)
    assert body["acknowledged"] == receipts
    assert len(body["failed"]) == 700
    assert json.dumps(body)


async def test_an_event_is_explained_from_its_first_fact_to_its_last(house: Any) -> None:
    (event_id,) = await house.publish('{"n":1}', topic="t")
    (event,) = await house.take()
    await house.client.post(f"/api/events/{event['receiptId']}/nack?delayMs=60000")
    answer = await house.client.get(f"/api/events/{event_id}")
    assert answer.status_code == 200
    body = answer.json()
    assert list(body) == [
        "id",
        "place",
        "topic",
        "timestamp",
        "retries",
        "payloadSize",
        "due",
        "deadline",
        "folded",
        "timeline",
    ]
    assert (body["id"], body["place"], body["topic"]) == (event_id, "delayed", "t")
    assert (body["retries"], body["payloadSize"], body["folded"]) == (1, 7, False)
    assert body["timestamp"] == event["timestamp"]
    assert body["due"] > body["timestamp"]
    assert body["deadline"] is None
    accepted, delivered, rejected = body["timeline"]
    assert [entry["what"] for entry in body["timeline"]] == ["accepted", "delivered", "rejected"]
    assert accepted["position"] < delivered["position"] < rejected["position"]
    assert delivered["consumer"] == "127.0.0.1"
    assert delivered["deadline"] > body["timestamp"]
    assert event["receiptId"] not in answer.text
    assert (rejected["retries"], rejected["due"]) == (1, body["due"])
    for entry in body["timeline"]:
        assert all(value not in ("", None) for value in entry.values())


async def test_the_place_of_an_event_is_told(house: Any) -> None:
    ids = await house.publish('{"n":0}', '{"n":1}', '{"n":2}', '{"n":3}')
    receipts = [event["receiptId"] for event in await house.take(3)]
    await house.acknowledge(receipts[0])
    await house.client.post(f"/api/events/{receipts[1]}/nack?requeue=false")
    explained = [(await house.client.get(f"/api/events/{name}")).json() for name in ids]
    places = [body["place"] for body in explained]
    assert places == ["acknowledged", "dead", "leased", "ready"]
    assert [body["deadline"] is None for body in explained] == [True, True, False, True]
    assert all(body["topic"] is None for body in explained)
    assert explained[1]["timeline"][-1]["reason"] == "rejected"


@pytest.mark.parametrize(
    "name", ["01a20a25-76dd-73c2-9252-020bb6f606cb", "nonsense", "Consume", "x" * 400, "%C3%A9"]
)
async def test_an_event_that_is_not_known_is_not_found(house: Any, name: str) -> None:
    answer = await house.client.get(f"/api/events/{name}")
    assert answer.status_code == 404
    assert answer.json()["code"] == "EVENT_NOT_FOUND"
    assert "never was" in answer.json()["detail"]
    assert "records are gone" in answer.json()["detail"]
