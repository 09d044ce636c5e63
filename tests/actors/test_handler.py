"""Handlers: how they are found, what they may look like, and what they are given."""

import sys
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from functools import partial, wraps
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest

from actors.broker import Delivery
from actors.handler import (
    Event,
    Function,
    Handler,
    HandlerError,
    PayloadMismatch,
    load_handler,
    make_handler,
)
from tests.actors.samples import NOW

Write = Callable[[str, str], None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Return a function that writes a module into the current directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "modules", {**sys.modules})

    def write(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    return write


def delivery(payload: bytes = b'{"n":1}') -> Delivery:
    return Delivery("receipt", "id-1", "orders", NOW, 2, payload, 0.0)


def refusal(spec: str) -> str:
    with pytest.raises(HandlerError) as caught:
        load_handler(spec)
    return str(caught.value)


# Loading


def test_a_handler_is_found_in_the_current_directory(write: Write) -> None:
    write("shop.py", "async def handle(event): ...")
    handler = load_handler("shop:handle")
    assert handler.name == "shop:handle"
    assert handler.wants is Event


def test_a_handler_is_found_in_a_package_and_inside_a_class(write: Write) -> None:
    write("store/__init__.py", "")
    write(
        "store/jobs.py",
        "class Jobs:\n    @staticmethod\n    async def handle(event): ...\n",
    )
    assert load_handler("store.jobs:Jobs.handle").name == "store.jobs:Jobs.handle"


@pytest.mark.parametrize("spec", ["", "shop", "shop:", ":handle", ":"])
def test_a_name_must_have_a_module_and_a_function(spec: str) -> None:
    assert refusal(spec) == f"{spec!r} is not of the form module:function"


def test_a_module_that_is_not_there(write: Write) -> None:
    write("other.py", "")
    assert refusal("nowhere:handle") == (
        f"'nowhere:handle': there is no module 'nowhere' in {Path.cwd()}, nor is one installed"
    )


def test_a_module_that_fails_to_import_says_why(write: Write) -> None:
    write("broken.py", "1 / 0")
    write("typo.py", "def f(:")
    assert refusal("broken:f") == (
        "'broken:f': importing 'broken' failed: ZeroDivisionError: division by zero"
    )
    assert "importing 'typo' failed: SyntaxError" in refusal("typo:f")


def test_a_function_that_is_not_there(write: Write) -> None:
    write("shop2.py", "async def handle(event): ...")
    assert refusal("shop2:handel") == "'shop2:handel': there is no 'handel' in 'shop2'"
    assert refusal("shop2:handle.x") == ("'shop2:handle.x': there is no 'handle.x' in 'shop2'")


@pytest.mark.parametrize(
    "text",
    [
        "def f(event): ...",
        "f = 3",
        "f = None",
        "f = lambda event: None",
        "async def f(event): yield",
        "import attrs\n@attrs.frozen\nclass f:\n    x: int\n    async def __call__(self, e): ...",
    ],
)
def test_what_is_not_an_async_function_is_refused(write: Write, text: str) -> None:
    write("wrong.py", text)
    assert refusal("wrong:f") == (
        "'wrong:f' is not an async function; a handler is async def f(event)"
    )


@pytest.mark.parametrize(
    "parameters", ["", "a, b", "*, event", "*events", "**options", "a, *, b", "a=1"]
)
def test_a_handler_takes_exactly_one_argument(write: Write, parameters: str) -> None:
    write("arity.py", f"async def f({parameters}): ...")
    assert refusal("arity:f") == "'arity:f' must take exactly one argument, the event"


@pytest.mark.parametrize("parameters", ["event", "event, /", "event, log=None", "event, *rest"])
def test_further_arguments_with_defaults_do_no_harm(write: Write, parameters: str) -> None:
    write("defaults.py", f"async def f({parameters}): ...")
    assert load_handler("defaults:f").wants is Event


@pytest.mark.parametrize("annotation", ["dict", "int", "list[int]", "str | None", "Path"])
def test_an_annotation_that_is_no_class_for_payloads_is_refused(
    write: Write, annotation: str
) -> None:
    write("noted.py", f"from pathlib import Path\nasync def f(event: {annotation}): ...")
    text = refusal("noted:f")
    assert text.startswith("'noted:f': its argument is annotated ")
    assert text.endswith("; it can be Event or an attrs class")


def test_an_annotation_that_cannot_be_read_is_refused(write: Write) -> None:
    write("unread.py", "async def f(event: 'Nobody'): ...")
    assert refusal("unread:f") == (
        "'unread:f': its annotations cannot be read: name 'Nobody' is not defined"
    )


@attrs.frozen
class Price:
    amount: float
    currency: str = "EUR"


class Colour(Enum):
    RED = "red"


@attrs.frozen
class Order:
    id: int
    name: str
    paid: bool
    price: Price
    tags: list[str] = attrs.field(factory=list)
    notes: dict[str, int] = attrs.field(factory=dict)
    parent: int | None = None
    colour: Colour = Colour.RED
    kind: Literal["new", "old"] = "new"
    parts: tuple[Price, ...] = ()
    grid: list[list[str]] = attrs.field(factory=list)
    words: frozenset[str] = frozenset()
    pair: tuple[int, str] = (0, "")


async def wants_nothing(event) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    got.append(event)


async def wants_event(event: Event) -> None:
    got.append(event)


async def wants_anything(event: Any) -> None:
    got.append(event)


async def wants_order(order: Order) -> None:
    got.append(order)


class Callable_:  # noqa: N801 -- not typing's
    async def __call__(self, order: Order) -> None:
        got.append(order)

    async def method(self, order: "Order") -> None:
        got.append(order)


got: list[Any] = []


@pytest.fixture(autouse=True)
def nothing_yet() -> None:
    got.clear()


@pytest.mark.parametrize("function", [wants_nothing, wants_event, wants_anything])
async def test_without_a_class_of_its_own_a_handler_gets_an_event(function: Function) -> None:
    await make_handler(function)(delivery(b'{"n":[1,{"m":null}]}'))
    assert got == [Event("id-1", "orders", {"n": [1, {"m": None}]}, NOW, 2)]


ORDER = b'{"id":1,"name":"x","paid":true,"price":{"amount":2},"tags":["a"],"notes":{"b":3}}'


@pytest.mark.parametrize("function", [wants_order, Callable_(), Callable_().method])
async def test_a_handler_gets_an_instance_of_its_class(function: Function) -> None:
    handler = make_handler(function)
    assert handler.wants is Order
    await handler(delivery(ORDER))
    assert got == [Order(1, "x", True, Price(2.0), ["a"], {"b": 3})]


async def test_arrays_become_what_the_class_asks_for() -> None:
    await make_handler(wants_order)(
        delivery(
            with_fields(
                parts='[{"amount":2}]', grid='[["a"],[]]', words='["ab","c","ab"]', pair='[1,"b"]'
            )
        )
    )
    (order,) = got
    assert order.parts == (Price(2.0),)
    assert order.grid == [["a"], []]
    assert order.words == frozenset({"ab", "c"})
    assert order.pair == (1, "b")


async def test_keys_that_the_class_does_not_have_are_passed_over() -> None:
    await make_handler(wants_order)(
        delivery(b'{"id":1,"name":"x","paid":true,"price":{"amount":1.5,"x":1},"more":[]}')
    )
    assert got == [Order(1, "x", True, Price(1.5))]


def with_fields(**fields: str) -> bytes:
    known = {"id": "1", "name": '"x"', "paid": "true", "price": '{"amount":1}', **fields}
    return ("{" + ",".join(f'"{key}":{value}' for key, value in known.items()) + "}").encode()


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"id": '"1"'}, "payload.id"),
        ({"id": "1.0"}, "payload.id"),
        ({"id": "true"}, "payload.id"),
        ({"id": "null"}, "payload.id"),
        ({"name": "1"}, "payload.name"),
        ({"name": "null"}, "payload.name"),
        ({"paid": "1"}, "payload.paid"),
        ({"paid": '"true"'}, "payload.paid"),
        ({"price": '{"amount":"1"}'}, "payload.price.amount"),
        ({"price": '{"amount":true}'}, "payload.price.amount"),
        ({"price": "{}"}, "payload.price.amount"),
        ({"price": "[]"}, "payload.price"),
        ({"price": "null"}, "payload.price"),
        ({"price": '"x"'}, "payload.price"),
        ({"tags": "[1]"}, "payload.tags[0]"),
        ({"tags": '"abc"'}, "payload.tags"),
        ({"tags": '{"a":1}'}, "payload.tags"),
        ({"tags": "1"}, "payload.tags"),
        ({"notes": '{"a":"b"}'}, "payload.notes"),
        ({"notes": '["ab"]'}, "payload.notes"),
        ({"parent": '"1"'}, "payload.parent"),
        ({"colour": '"blue"'}, "payload.colour"),
        ({"kind": '"odd"'}, "payload.kind"),
        ({"parts": '[{"amount":"2"}]'}, "payload.parts[0].amount"),
        ({"parts": '{"amount":2}'}, "payload.parts"),
        ({"grid": '[["a"],"bc"]'}, "payload.grid[1]"),
        ({"words": '"ab"'}, "payload.words"),
        ({"pair": '"ab"'}, "payload.pair"),
    ],
)
async def test_a_payload_that_does_not_fit_is_a_readable_error(
    fields: Mapping[str, str], where: str
) -> None:
    with pytest.raises(PayloadMismatch) as caught:
        await make_handler(wants_order)(delivery(with_fields(**fields)))
    text = str(caught.value)
    assert text.startswith("the payload does not fit Order: ")
    assert where in text
    assert "\n" not in text
    assert got == []


async def test_every_misfit_of_a_payload_is_named() -> None:
    with pytest.raises(PayloadMismatch) as caught:
        await make_handler(wants_order)(delivery(b'{"id":"1","paid":true,"price":{"amount":1}}'))
    assert str(caught.value) == (
        "the payload does not fit Order: invalid value for type, expected int @ payload.id;"
        " required field missing @ payload.name"
    )


async def test_what_a_handler_raises_comes_out_as_it_is() -> None:
    async def fails(_: Event) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await make_handler(fails)(delivery())


async def test_an_error_inside_the_handler_is_not_taken_for_a_misfit() -> None:
    async def fails(_: Order) -> None:
        raise TypeError("mine")

    with pytest.raises(TypeError, match="mine"):
        await make_handler(fails)(delivery(ORDER))


def test_a_handler_made_by_hand_is_named_after_its_function() -> None:
    assert make_handler(wants_event).name == "wants_event"
    assert make_handler(wants_event, name="mine").name == "mine"
    assert Handler("x", wants_event).wants is Event


def test_a_decorated_handler_keeps_its_annotation() -> None:
    def twice(function: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
        @wraps(function)
        async def wrapper(*arguments: Any) -> None:
            await function(*arguments)

        return wrapper

    assert make_handler(twice(wants_order)).wants is Order


def test_a_partial_of_a_coroutine_function_is_a_handler() -> None:
    async def handle(prefix: str, event: Order) -> None: ...

    assert make_handler(partial(handle, "x"), name="h").wants is Order


def test_a_module_that_exits_while_it_is_imported(write: Write) -> None:
    write("quits.py", "raise SystemExit('no')\n")
    assert refusal("quits:handle") == "'quits:handle': importing 'quits' failed: SystemExit: no"
