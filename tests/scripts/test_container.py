"""The image and the compose files, as far as they can be checked without Docker."""

import json
import re
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from scripts import healthcheck
from web.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = (ROOT / "compose.yaml").read_text()
FINAL = DOCKERFILE.split(" AS final", 1)[1]
PACKAGES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"][
    "targets"
]["wheel"]["packages"]


def test_the_image_runs_the_broker_itself_and_not_as_root() -> None:
    entry = re.search(r"^ENTRYPOINT (.+)$", FINAL, re.MULTILINE)
    assert entry is not None
    assert json.loads(entry.group(1)) == ["event-broker", "serve"]
    assert re.search(r"^USER broker$", FINAL, re.MULTILINE)
    assert re.search(r"^STOPSIGNAL SIGTERM$", FINAL, re.MULTILINE)


def test_the_image_exposes_the_default_port() -> None:
    assert f"\nEXPOSE {Settings().port}\n" in FINAL
    assert f":{Settings().port}" in COMPOSE


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_gets_into_the_image(package: str) -> None:
    assert f"COPY {package}/ {package}/" in DOCKERFILE
    assert f"!{package}" in (ROOT / ".dockerignore").read_text().splitlines()
    assert f"./{package}:/app/{package}:ro" in (ROOT / "compose.dev.yaml").read_text()


def test_what_the_image_copies_is_not_ignored() -> None:
    kept = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        for source in line.split()[:-1]:
            assert source == "." or source.rstrip("/").split("/")[0] in kept, source


def test_the_port_is_published_on_the_loopback_address_alone() -> None:
    ports = re.search(r"^    ports:\n((?:      - .+\n)+)", COMPOSE, re.MULTILINE)
    assert ports is not None
    for line in ports.group(1).splitlines():
        assert line.strip().startswith('- "127.0.0.1:')


def test_docker_waits_longer_than_a_shutdown_takes() -> None:
    grace = re.search(r"^    stop_grace_period: (\d+)s$", COMPOSE, re.MULTILINE)
    assert grace is not None
    assert int(grace.group(1)) * 1000 > Settings().shutdown_timeout_ms


class _Health(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        wanted = self.status if self.path == "/api/health" else 404
        self.send_response(wanted)
        self.end_headers()
        self.wfile.write(b'{"status":"whatever"}')

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Health]]:
    handler = type("Handler", (_Health,), {})
    with HTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("PORT", str(http.server_port))
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        yield handler
        http.shutdown()
        thread.join()


def test_a_healthy_broker_passes_the_check_whatever_the_proxy(server: type[_Health]) -> None:
    assert server.status == 200
    assert healthcheck.main() == 0


def test_an_unhealthy_broker_fails_the_check(server: type[_Health]) -> None:
    server.status = 503
    assert healthcheck.main() == 1


def test_a_broker_that_does_not_answer_fails_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "9")
    assert healthcheck.main() == 1
