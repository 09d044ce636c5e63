"""The demonstration's input: read from the package or from a file, each event's bytes unique."""

import io
import json
import tarfile
from pathlib import Path

import click
import pytest

from scripts.demonstration import payloads
from scripts.demonstration.fate import Fate, decide
from scripts.demonstration.payloads import Webhook, fetch, load, numbered

INDEX = [
    {"name": "push", "examples": [{"ref": "main", "näme": "é"}, {"ref": "next"}]},
    {"name": "ping", "examples": [{"zen": "Keep it logically awesome."}]},
]


def test_webhooks_are_read_from_an_index(tmp_path: Path) -> None:
    file = tmp_path / "index.json"
    file.write_text(json.dumps(INDEX))
    webhooks = load(file)
    assert [webhook.name for webhook in webhooks] == ["push", "push", "ping"]
    assert json.loads(webhooks[0].text) == {"ref": "main", "näme": "é"}


def test_webhooks_are_read_from_the_package_without_unpacking_it(tmp_path: Path) -> None:
    file = tmp_path / "package.tgz"
    content = json.dumps(INDEX).encode()
    with tarfile.open(file, "w:gz") as archive:
        for name in ("../../outside", payloads.MEMBER):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    assert len(load(file)) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["package.tgz"]


@pytest.mark.parametrize("text", ["", "[]", "{}", "[1]", '[{"name": "x"}]', "nonsense"])
def test_a_file_without_webhooks_is_one_clear_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "wrong.json"
    file.write_text(text)
    with pytest.raises(click.ClickException, match="has no webhooks in it"):
        load(file)


def test_a_package_without_the_index_is_one_clear_error(tmp_path: Path) -> None:
    file = tmp_path / "package.tgz"
    with tarfile.open(file, "w:gz"):
        pass
    with pytest.raises(click.ClickException, match="has no webhooks in it"):
        load(file)


def test_a_cached_package_is_not_fetched_again(tmp_path: Path) -> None:
    file = tmp_path / f"octokit-webhooks-examples-{payloads.VERSION}.tgz"
    file.touch()
    assert fetch(tmp_path) == file


def test_without_npm_the_error_names_the_other_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(click.ClickException, match=r"npm is not installed.*--payloads"):
        fetch(tmp_path / "cache")


def test_a_number_makes_the_bytes_unique_and_keeps_the_webhook() -> None:
    webhook = Webhook("push", '{"ref": "main"}')
    assert numbered(webhook, 7) == b'{"delivery": 7, "ref": "main"}'
    assert numbered(webhook, 7) != numbered(webhook, 8)


def test_fate_hangs_on_seed_number_and_retries_alone() -> None:
    fates = [decide(1, number, 0) for number in range(5000)]
    assert fates == [decide(1, number, 0) for number in range(5000)]
    assert fates != [decide(2, number, 0) for number in range(5000)]
    assert {fate: fates.count(fate) > 0 for fate in Fate} == dict.fromkeys(Fate, True)
    assert fates.count(Fate.ACKNOWLEDGE) > 4500


def test_some_events_fail_at_every_delivery() -> None:
    poisoned = [
        number
        for number in range(5000)
        if all(decide(1, number, retries) is Fate.FAIL for retries in range(20))
    ]
    assert poisoned
