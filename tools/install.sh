#!/bin/sh
# Builds .venv from a lock, once: `sh tools/install.sh requirements.lock`, usually by `make install`.
# What was installed is kept beside it, so that the next call returns at once while nothing changed.
# PYTHON chooses the interpreter. Plain POSIX sh: it must run where nothing is installed yet.
set -eu

lock=${1:-requirements.lock}
venv=.venv
log=$venv/install.log
stamp=$venv/installed-from

fail() {
    echo "install: $1" >&2
    exit 1
}

fits() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null
}

choose_python() {
    if [ -n "${PYTHON:-}" ]; then
        fits "$PYTHON" || fail "PYTHON=$PYTHON is $(version "$PYTHON"), expected Python 3.11, 3.12 or 3.13"
        echo "$PYTHON"
        return
    fi
    for candidate in python3 python3.13 python3.12 python3.11 python; do
        if fits "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    fail "found $(version python3), expected Python 3.11, 3.12 or 3.13: install one or name it, as in make install PYTHON=python3.12"
}

version() {
    "$1" --version 2>/dev/null || echo "no working $1"
}

wanted() {
    pwd
    cat "$lock" pyproject.toml
}

is_installed() {
    [ -f "$stamp" ] && wanted | cmp -s - "$stamp" && fits $venv/bin/python && ! asked_for_another
}

asked_for_another() {
    [ -n "${PYTHON:-}" ] && [ "$(version "$PYTHON")" != "$(version $venv/bin/python)" ]
}

has_moved() {
    [ -f $stamp ] && [ "$(head -n 1 $stamp)" != "$(pwd)" ]
}

create_venv() {
    python=$(choose_python)
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$(version "$python") lacks ensurepip or venv: on Debian or Ubuntu install python3-venv, or name another with PYTHON="
    rm -rf $venv
    "$python" -m venv $venv || fail "$(version "$python") could not make a virtual environment in $venv"
}

pip_install() {
    what=$1
    shift
    $venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps "$@" >>$log 2>&1 ||
        fail "pip could not install $what ($(grep '^ *ERROR' $log | tail -n 1)); the whole story is in $log"
}

[ -f "$lock" ] || fail "no file $lock here, expected the project's folder"
if is_installed; then
    exit 0
fi
if ! fits $venv/bin/python || asked_for_another || has_moved; then
    create_venv
fi
rm -f $stamp
: >$log
echo "Installing about $(grep -c '^[a-z].*==' "$lock") packages from $lock into $venv, once; takes about two minutes ..."
pip_install "$lock" --require-hashes --requirement "$lock"
pip_install "this package" --no-index --no-build-isolation --editable .
wanted >$stamp
echo "Installed with $(version $venv/bin/python)."
