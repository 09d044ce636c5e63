"""scripts/run and its sisters, with a Python that only pretends: no network, no installation."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).resolve().parents[2]

# A Python that can make environments, and whose pip takes down what it is told.
PYTHON = r"""#!/bin/sh
here=$(dirname "$0")
case "$*" in
    "-m venv --clear "*)
        for directory in "$@"; do :; done
        mkdir -p "$directory/bin"
        cp "$0" "$directory/bin/python"
        printf 'VIRTUAL_ENV="%s"\n' "$directory" >"$directory/bin/activate"
        echo venv >>"$CALLS"
        ;;
    "-m pip --version") ;;
    "-m pip "*)
        echo "$*" >>"$CALLS"
        if [ -n "${PIP_FAILS:-}" ]; then
            echo "pip says: $PIP_FAILS" >&2
            exit 1
        fi
        printf '#!/bin/sh\nfor a in "$@"; do printf "<%%s>" "$a"; done; echo "$PORT"\n' \
            >"$here/event-broker"
        chmod +x "$here/event-broker"
        ;;
    *ensurepip*) exit "${NO_VENV:-0}" ;;
    *version_info\[*) echo 3.11 ;;
    --version) echo "Python 3.11.0" ;;
    *reload.py*) echo "reload $*" ;;
esac
"""


@attrs.frozen
class Checkout:
    """A copy of the scripts with a project that has nothing in it."""

    root: Path
    calls_file: Path
    tools: Path

    def run(
        self, *arguments: str, script: str = "scripts/run", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.root / script, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
            cwd=self.tools,
            env={"PATH": str(self.tools), "CALLS": str(self.calls_file), **environment},
        )

    def calls(self) -> list[str]:
        """Return what Python was asked since the last time."""
        if not self.calls_file.exists():
            return []
        lines = self.calls_file.read_text().splitlines()
        self.calls_file.unlink()
        return lines


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    root = tmp_path / "a check out"
    shutil.copytree(
        ROOT / "scripts", root / "scripts", ignore=shutil.ignore_patterns("__pycache__")
    )
    (root / "pyproject.toml").write_text("one\n")
    (root / "constraints.txt").write_text("two\n")
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("cat", "chmod", "cksum", "cp", "dirname", "grep", "mkdir", "rm", "sh"):
        found = shutil.which(tool)
        assert found is not None
        (tools / tool).symlink_to(found)
    python = tools / "python3"
    python.write_text(PYTHON)
    python.chmod(0o755)
    return Checkout(root, tmp_path / "calls", tools)


def shell_scripts() -> list[Path]:
    return [
        path
        for path in (*ROOT.glob("scripts/*"), *ROOT.glob(".ci/*"), *ROOT.glob("examples/*"))
        if path.is_file() and path.read_bytes().startswith(b"#!")
    ]


def test_there_are_scripts_to_check() -> None:
    names = {path.name for path in shell_scripts()}
    assert {"run", "test", "demo", "update-constraints", "tour.sh"} <= names


@pytest.mark.parametrize("script", shell_scripts(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_script_is_executable_and_its_shell_can_read_it(script: Path) -> None:
    assert script.stat().st_mode & stat.S_IXUSR
    first_line = script.read_text().splitlines()[0]
    shell = "bash" if "bash" in first_line else "sh"
    subprocess.run([shell, "-n", script], check=True)


def test_the_first_start_makes_the_environment_and_says_so(checkout: Checkout) -> None:
    result = checkout.run("--port", "4000", "a b", PORT="77")
    assert result.returncode == 0
    assert result.stdout == "<serve><--port><4000><a b>77\n"
    assert "Making the virtual environment" in result.stderr
    assert "Installing the broker" in result.stderr
    made, tools, project = checkout.calls()
    assert made == "venv"
    assert "hatchling" in tools
    assert project.endswith(f"-e {checkout.root}")
    assert f"-c {checkout.root}/constraints.txt" in project
    assert "--no-build-isolation" in project


def test_the_second_start_asks_nothing_of_python(checkout: Checkout) -> None:
    checkout.run()
    checkout.calls()
    result = checkout.run("x")
    assert (result.stdout, result.stderr) == ("<serve><x>\n", "")
    assert checkout.calls() == []


@pytest.mark.parametrize("file", ["pyproject.toml", "constraints.txt"])
def test_a_change_of_the_dependencies_installs_them_anew(checkout: Checkout, file: str) -> None:
    checkout.run()
    checkout.calls()
    (checkout.root / file).write_text("changed\n")
    assert checkout.run().returncode == 0
    assert len(checkout.calls()) == 2
    checkout.run()
    assert checkout.calls() == []


def test_a_moved_checkout_gets_a_new_environment(checkout: Checkout) -> None:
    checkout.run()
    checkout.calls()
    moved = attrs.evolve(checkout, root=checkout.root.rename(checkout.root.with_name("moved")))
    assert moved.run().returncode == 0
    assert moved.calls()[0] == "venv"


def test_the_development_tools_stay_when_the_broker_is_run(checkout: Checkout) -> None:
    reload = checkout.run("--reload", "--port", "1")
    assert f"reload.py {checkout.root}/.venv/bin/event-broker serve --port 1" in reload.stdout
    assert checkout.calls()[-1].endswith("[dev]")
    checkout.run()
    assert checkout.calls() == []
    (checkout.root / "constraints.txt").write_text("changed\n")
    checkout.run()
    assert checkout.calls()[-1].endswith("[dev]")


def test_development_tools_are_added_to_an_environment_without_them(checkout: Checkout) -> None:
    checkout.run()
    checkout.calls()
    checkout.run("--reload")
    assert checkout.calls()[-1].endswith("[dev]")


def test_a_failing_installation_shows_what_pip_said_and_is_done_again(checkout: Checkout) -> None:
    result = checkout.run(PIP_FAILS="no such package")
    assert result.returncode == 1
    assert "pip says: no such package" in result.stderr
    assert "The installation failed" in result.stderr
    assert result.stdout == ""
    checkout.calls()
    again = checkout.run()
    assert again.returncode == 0
    assert len(checkout.calls()) == 2


def test_without_any_python_the_message_says_what_to_install(checkout: Checkout) -> None:
    (checkout.tools / "python3").unlink()
    result = checkout.run()
    assert result.returncode == 1
    assert "No Python 3.11 or newer was found" in result.stderr
    assert "apt-get install python3" in result.stderr


def test_without_the_venv_module_the_message_names_its_package(checkout: Checkout) -> None:
    result = checkout.run(NO_VENV="1")
    assert result.returncode == 1
    assert "apt-get install python3.11-venv" in result.stderr
    assert checkout.calls() == []


def test_a_python_that_was_named_and_is_none_is_said(checkout: Checkout) -> None:
    result = checkout.run(PYTHON="/no/python")
    assert result.returncode == 1
    assert "PYTHON is set to '/no/python'" in result.stderr


def test_help_says_what_the_script_adds(checkout: Checkout) -> None:
    result = checkout.run("--help")
    assert "--reload" in result.stdout
    assert "<serve><--help>" in result.stdout


def test_ci_finds_its_way_from_anywhere(checkout: Checkout) -> None:
    shutil.copytree(ROOT / ".ci", checkout.root / ".ci")
    bash = shutil.which("bash")
    assert bash is not None
    (checkout.tools / "bash").symlink_to(bash)
    env = shutil.which("env")
    assert env is not None
    (checkout.root / "scripts" / "test").write_text('#!/bin/sh\necho "CI=$CI $*"\n')
    (checkout.root / "scripts" / "test").chmod(0o755)
    (checkout.tools / "id").symlink_to(shutil.which("id") or os.devnull)
    result = checkout.run("-k", "x", script=".ci/run")
    assert result.stdout == "CI=true -k x\n"
