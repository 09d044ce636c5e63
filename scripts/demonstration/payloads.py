"""The real input: GitHub's example webhooks, out of an npm package."""

import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import attrs
import click

__all__ = ["Webhook", "fetch", "load", "numbered"]

PACKAGE = "@octokit/webhooks-examples"
VERSION = "7.6.1"
MEMBER = "package/api.github.com/index.json"
FETCH_SECONDS_MAX = 120


@attrs.frozen
class Webhook:
    """One example: `text` is its JSON object, `name` says what happened and is the topic."""

    name: str
    text: str


def fetch(cache: Path) -> Path:
    """Return the npm package's file, downloaded into `cache` if it is not there yet."""
    file = cache / f"octokit-webhooks-examples-{VERSION}.tgz"
    if file.exists():
        return file
    npm = shutil.which("npm")
    if npm is None:
        raise click.ClickException(
            f"The payloads come from the npm package {PACKAGE}, and npm is not installed. "
            "Install npm, or name a file with --payloads (the package's .tgz or its index.json)."
        )
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as directory:
        packed = subprocess.run(
            [npm, "pack", f"{PACKAGE}@{VERSION}", "--silent", "--pack-destination", directory],
            capture_output=True,
            text=True,
            check=False,
            timeout=FETCH_SECONDS_MAX,
        )
        found = list(Path(directory).glob("*.tgz"))
        if packed.returncode != 0 or len(found) != 1:
            raise click.ClickException(
                f"npm could not fetch {PACKAGE}@{VERSION}; it said:\n{packed.stderr.strip()}\n"
                "Without the network, name a file with --payloads."
            )
        found[0].replace(file)
    return file


def load(file: Path) -> list[Webhook]:
    """Read the webhooks from the npm package's file or from an index.json of the same form."""
    try:
        text = _out_of_archive(file) if tarfile.is_tarfile(file) else file.read_bytes()
        webhooks = _webhooks(json.loads(text))
    except (OSError, KeyError, TypeError, ValueError, tarfile.TarError) as error:
        raise click.ClickException(
            f"{file} has no webhooks in it ({type(error).__name__}: {error}). Wanted: the .tgz of "
            f"{PACKAGE}, or a JSON array of objects with 'name' and 'examples'."
        ) from error
    if not webhooks:
        raise click.ClickException(f"{file} has no webhooks in it.")
    return webhooks


def _out_of_archive(file: Path) -> bytes:
    """Read the one member that is wanted; nothing is unpacked onto the disk."""
    with tarfile.open(file) as archive:
        member = archive.extractfile(MEMBER)
        if member is None:
            raise KeyError(MEMBER)
        return member.read()


def _webhooks(index: list[dict[str, Any]]) -> list[Webhook]:
    return [
        Webhook(str(kind["name"]), json.dumps(example))
        for kind in index
        for example in kind["examples"]
        if isinstance(example, dict) and example
    ]


def numbered(webhook: Webhook, number: int) -> bytes:
    """Return the webhook's bytes with its delivery's number as a first member.

    The number makes every publication's bytes unique, as the header of a real delivery does.
    """
    return f'{{"delivery": {number}, {webhook.text[1:]}'.encode()
