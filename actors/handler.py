"""The user's own handler: found by name, and given what its annotation asks for."""

import importlib
import inspect
import sys
import typing
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import msgspec
from cattrs import BaseConverter, transform_error
from cattrs.preconf.json import make_converter

from actors.broker import Delivery


@attrs.frozen
class Event:
    """What a handler gets unless its annotation names a class of its own.

    Attributes:
        id: the event's id, the same at every delivery.
        topic: the topic, or the empty string.
        payload: the published JSON object.
        timestamp: when it was accepted, milliseconds since the epoch.
        retries: failed deliveries before this one.
    """

    id: str
    topic: str
    payload: Mapping[str, Any]
    timestamp: int
    retries: int


class HandlerError(Exception):
    """A handler that cannot be used; one sentence that says why."""


class PayloadMismatch(Exception):
    """A payload that does not fit the class that the handler asks for."""


Function: TypeAlias = Callable[[Any], Awaitable[object]]


@attrs.frozen
class Handler:
    """A function that is called with each event, in the form that it asks for.

    Attributes:
        name: for people.
        function: the user's coroutine function, taking one argument.
        wants: the class its argument is made of: `Event`, or one that cattrs structures.
    """

    name: str
    function: Function
    wants: type = Event

    async def __call__(self, delivery: Delivery) -> None:
        """Handle one delivery.

        Raises:
            PayloadMismatch: if the payload does not fit what the handler wants.
            Exception: whatever the handler raises.
        """
        payload = msgspec.json.decode(delivery.payload)
        if self.wants is not Event:
            await self.function(self._structure(payload))
            return
        event = Event(delivery.id, delivery.topic, payload, delivery.timestamp, delivery.retries)
        await self.function(event)

    def _structure(self, payload: object) -> object:
        try:
            return _CONVERTER.structure(payload, self.wants)
        except Exception as error:
            why = "; ".join(transform_error(error, path="payload"))
            raise PayloadMismatch(
                f"the payload does not fit {self.wants.__name__}: {why}"
            ) from error


def load_handler(spec: str) -> Handler:
    """Find a handler by `module:function`, in the current directory or installed.

    Raises:
        HandlerError: if it cannot be imported or is not a coroutine function of one argument.
    """
    module_name, separator, function_name = spec.partition(":")
    if not separator or not module_name or not function_name:
        raise HandlerError(f"{spec!r} is not of the form module:function")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == module_name:
            raise HandlerError(
                f"{spec!r}: there is no module {module_name!r} in {here}, nor is one installed"
            ) from None
        why = f"{type(error).__name__}: {error}"
        raise HandlerError(f"{spec!r}: importing {module_name!r} failed: {why}") from error
    for name in function_name.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise HandlerError(
                f"{spec!r}: there is no {function_name!r} in {module_name!r}"
            ) from None
    return make_handler(found, name=spec)


def make_handler(function: Function, *, name: str | None = None) -> Handler:
    """Make a handler of a coroutine function of one argument.

    Raises:
        HandlerError: if it is something else.
    """
    name = name or str(getattr(function, "__qualname__", function))
    if not _is_async(function):
        raise HandlerError(f"{name!r} is not an async function; a handler is async def f(event)")
    parameters = [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}
    ]
    if len(parameters) != 1 or parameters[0].kind is parameters[0].KEYWORD_ONLY:
        raise HandlerError(f"{name!r} must take exactly one argument, the event")
    return Handler(name, function, _wanted(function, parameters[0].name, name))


def _is_async(function: object) -> bool:
    """Tell whether calling it gives a coroutine; also a partial, or an object that is called."""
    if inspect.isclass(function):
        return False
    called = getattr(function, "__call__", None)  # noqa: B004 -- wanted itself, not whether it is
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)


def _wanted(function: Any, parameter: str, name: str) -> type:  # noqa: ANN401 -- any callable
    """Return the class that the parameter's annotation asks for."""
    if isinstance(function, partial):
        function = function.func
    elif not inspect.isroutine(function):
        function = function.__call__
    try:
        wanted = typing.get_type_hints(function).get(parameter, Event)
    except Exception as error:
        raise HandlerError(f"{name!r}: its annotations cannot be read: {error}") from error
    if wanted in {Event, object, Any}:
        return Event
    if isinstance(wanted, type) and attrs.has(wanted):
        return wanted
    raise HandlerError(
        f"{name!r}: its argument is annotated {wanted!r}; it can be Event or an attrs class"
    )


def _strict(kind: type, accepted: tuple[type, ...]) -> Callable[[object, object], object]:
    """Return a hook that takes a value as it is: by default a 1 would silently become "1"."""

    def hook(value: object, _: object) -> object:
        if type(value) not in accepted:
            raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")
        return value

    return hook


def _is_array(kind: Any) -> bool:  # noqa: ANN401 -- any annotation
    """Tell whether a JSON array becomes a `kind`."""
    made_of = typing.get_origin(kind) or kind
    if not isinstance(made_of, type) or attrs.has(made_of) or kind in _PLAIN:
        return False
    return issubclass(made_of, Collection) and not issubclass(made_of, str | bytes | Mapping)


def _strict_array(kind: Any, converter: BaseConverter) -> Callable[[object, object], object]:  # noqa: ANN401 -- any annotation
    """Return a hook that takes an array alone: by default "ab" would silently become letters."""
    _PLAIN.append(kind)
    try:
        structure = converter.get_structure_hook(kind, cache_result=False)
    finally:
        _PLAIN.remove(kind)

    def hook(value: object, wanted: object) -> object:
        if type(value) is not list:
            raise TypeError(f"expected an array, got {type(value).__name__}")
        return structure(value, wanted)

    return hook


_PLAIN: list[object] = []
"""Kinds whose own hook is being looked for behind the strict one."""

_CONVERTER = make_converter()
_CONVERTER.register_structure_hook_factory(_is_array, _strict_array)
_CONVERTER.register_structure_hook(str, _strict(str, (str,)))
_CONVERTER.register_structure_hook(int, _strict(int, (int,)))
_CONVERTER.register_structure_hook(float, _strict(float, (float, int)))
_CONVERTER.register_structure_hook(bool, _strict(bool, (bool,)))
