"""The repository as others get it: nothing of one machine in it, documents that agree with it."""

import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest

from web.settings import setting_table

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# Written so that this file does not find itself.
REGISTRY_HOSTS = re.compile("|".join(("pypi[.]org", "python" + "hosted", "npm" + "js[.]")))
HOME_PATHS = re.compile("|".join(("/" + "home/[a-z]", "/" + "Users/[A-Za-z]", "/" + "root/")))


@cache
def repository_files() -> tuple[Path, ...]:
    """Return the files that are or could be committed."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    paths = (ROOT / name.decode() for name in listed.stdout.split(b"\0") if name)
    return tuple(path for path in paths if path.is_file())


def offenders(pattern: re.Pattern[str]) -> list[str]:
    found = []
    for path in repository_files():
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    return found


def test_no_file_names_a_package_registry() -> None:
    assert offenders(REGISTRY_HOSTS) == []


def test_no_file_names_somebodys_home() -> None:
    assert offenders(HOME_PATHS) == []


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def normalised(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def requirement_name(requirement: str) -> str:
    matched = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert matched is not None
    return normalised(matched.group())


def direct_dependencies() -> list[str]:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    return [
        requirement_name(requirement)
        for requirement in (
            *PROJECT["dependencies"],
            *PROJECT["optional-dependencies"]["dev"],
            *build,
        )
    ]


def test_constraints_are_plain_pins() -> None:
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert re.fullmatch(r"#.*|[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line), line


def test_every_direct_dependency_is_pinned() -> None:
    pinned = {normalised(name) for name in pins()}
    assert [name for name in direct_dependencies() if name not in pinned] == []


def test_every_direct_dependency_has_its_reason() -> None:
    text = (ROOT / "docs/decisions/0002-dependencies.md").read_text()
    reasons = {normalised(name) for name in re.findall(r"^\| ([\w.-]+) \|", text, re.MULTILINE)}
    assert [name for name in direct_dependencies() if name not in reasons] == []


def section(text: str, heading: str) -> str:
    return text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def test_the_readme_explains_every_setting() -> None:
    table = section((ROOT / "README.md").read_text(), "Configuration")
    explained = set(re.findall(r"`([A-Z][A-Z_]+)`", table))
    known = {"CONFIG_FILE", *(setting.variable for setting in setting_table())}
    assert explained == known


def test_the_readme_has_the_defaults_right() -> None:
    table = section((ROOT / "README.md").read_text(), "Configuration")
    for line in table.splitlines():
        names = re.findall(r"`([A-Z][A-Z_]+)`", line.split("|")[1]) if "|" in line else []
        if not names or names == ["CONFIG_FILE"]:
            continue
        defaults = [text.strip() for text in line.split("|")[2].split(",")]
        by_variable = {setting.variable: setting for setting in setting_table()}
        for name, said in zip(names, defaults, strict=True):
            shown = by_variable[name].rule.show(by_variable[name].default)
            assert said == (f"{shown:g}" if isinstance(shown, float) else str(shown)), name


def documents() -> list[Path]:
    return [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")]


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if target.startswith(("http:", "https:")):
            continue
        name, _, anchor = target.partition("#")
        linked = document.parent / name if name else document
        assert linked.exists(), target
        if anchor and linked.suffix == ".md":
            assert anchor in anchors(linked.read_text()), target
