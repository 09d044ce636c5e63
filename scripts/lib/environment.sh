# shellcheck shell=sh
# Sourced by the scripts beside it: makes the project's virtual environment and keeps it current.
# POSIX sh, so that the /bin/sh of Debian and of macOS read it alike. The caller has set ROOT to
# the project's directory, as an absolute path.

VENV=$ROOT/.venv
# What the environment was last installed from. Written last, so that an interrupted
# installation is done again.
STAMP=$VENV/.installed-from

say() {
    printf '%s\n' "$*" >&2
}

die() {
    say "$@"
    exit 1
}

# Print the first Python that is new enough and able to make environments. The command must run:
# version managers put names on the path for Pythons that they then refuse to start.
find_python() {
    without_venv=
    if [ -n "${PYTHON:-}" ]; then
        set -- "$PYTHON"
    else
        set -- python3.11 python3.12 python3.13 python3.14 python3
    fi
    for candidate in "$@"; do
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 ||
            continue
        if "$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1; then
            printf '%s\n' "$candidate"
            return
        fi
        without_venv=${without_venv:-$candidate}
    done
    if [ -n "$without_venv" ]; then
        version=$("$without_venv" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        say "Python $version is here, but without its venv module, which Debian and Ubuntu ship apart."
        die "Install it with 'apt-get install python$version-venv' (as root) and run this again."
    fi
    if [ -n "${PYTHON:-}" ]; then
        die "PYTHON is set to '$PYTHON', which does not start a Python 3.11 or newer."
    fi
    say "No Python 3.11 or newer was found on the PATH."
    say "Install one (Debian: 'apt-get install python3 python3-venv', macOS: 'brew install python@3.13')"
    die "or name one that is elsewhere: PYTHON=/path/to/python3 $0"
}

# Print what an installation depends on: the two files' checksums, and where the project lies,
# because an environment does not survive being moved.
fingerprint() {
    cksum <"$ROOT/pyproject.toml" && cksum <"$ROOT/constraints.txt" && printf '%s\n' "$ROOT"
}

# Run a command silently; show what it said only if it fails.
quietly() {
    output=$("$@" 2>&1) && return
    say "$output"
    return 1
}

# Whether the environment still has its Python, and has not been moved since it was made: its
# commands name their Python by its full path.
environment_works() {
    "$VENV/bin/python" -m pip --version >/dev/null 2>&1 &&
        grep -q -F -e "=$VENV" -e "=\"$VENV" -e "='$VENV" "$VENV/bin/activate"
}

install() {
    quietly "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check \
        -c "$ROOT/constraints.txt" "$@" ||
        die "The installation failed; what pip said stands above. Run this again to go on."
}

# ensure_environment runtime|dev
#
# Make the environment if it is missing, and install into it if pyproject.toml or constraints.txt
# changed. Starts no Python when there is nothing to do. An environment that has the development
# tools keeps them.
ensure_environment() {
    level=$1
    wanted=$(fingerprint)
    installed=
    if [ -x "$VENV/bin/python" ] && [ -f "$STAMP" ]; then
        installed=$(cat "$STAMP")
    fi
    case $installed in
        "dev
$wanted") return ;;
        "runtime
$wanted") [ "$level" = dev ] || return 0 ;;
        "dev
"*) level=dev ;;
    esac

    if ! environment_works; then
        python=$(find_python) || exit 1
        say "Making the virtual environment .venv with $("$python" --version) ..."
        quietly "$python" -m venv --clear "$VENV" ||
            die "The virtual environment could not be made in $VENV."
    fi
    project=$ROOT
    if [ "$level" = dev ]; then
        say "Installing the broker and its development tools (once, about a minute) ..."
        project="${ROOT}[dev]"
    else
        say "Installing the broker (once, about half a minute) ..."
    fi
    rm -f "$STAMP"
    # The build tools come first and under the same constraints; pip would else fetch whatever
    # is newest that day to build the project with.
    install hatchling editables
    install --no-build-isolation -e "$project"
    printf '%s\n%s\n' "$level" "$wanted" >"$STAMP"
}
