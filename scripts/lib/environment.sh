# Makes the project's own Python environment in .venv and puts it first on PATH. To be sourced.
#
# The first time takes up to a minute; after that only a hash is compared. The environment is made
# again when pyproject.toml, requirements.lock or the Python that it was made with has changed.

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
venv=$root/.venv

say() { printf '==> %s\n' "$*" >&2; }

fail() {
  printf 'error: %s\n' "$1" >&2
  [ $# -lt 2 ] || printf 'hint: %s\n' "$2" >&2
  exit 1
}

# Prints the first Python of 3.11 or newer. A name that is only a version switcher's empty shim
# fails to run and is passed over.
find_python() {
  local candidate
  for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      # Not the path of an active .venv: that one may be about to be made anew.
      "$candidate" -c 'import os, sys; print(os.path.realpath(sys.executable))'
      return
    fi
  done
  fail "no Python 3.11 or newer found${PYTHON:+ at PYTHON=$PYTHON}; python3 is $(python3 --version 2>&1 || true)" \
    "install Python 3.11, or name one: PYTHON=/path/to/python3.11 $0"
}

stamp_of() {
  { "$1" --version; cat "$root/pyproject.toml" "$root/requirements.lock"; } | sha256sum
}

# Runs pip and shows how far it is; its own words come only when it fails.
run_pip() {
  local log=$venv/pip.log
  if "$venv/bin/python" -m pip install --retries 2 --disable-pip-version-check "$@" >"$log" 2>&1; then
    return
  fi
  grep -v '^  ' "$log" | tail -n 15 >&2
  if grep -qE 'No matching distribution|Could not find a version|NewConnectionError|Max retries' "$log"; then
    fail "pip found no package index that has what is needed" \
      "the first run needs one; PIP_INDEX_URL names another than the usual one (all of pip's words: $log)"
  fi
  fail "pip could not install the dependencies" "all of pip's words are in $log"
}

make_environment() {
  local python=$1
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python has no venv module" "on Debian and Ubuntu: apt-get install python3-venv"
  say "making .venv with $("$python" --version) (once; up to a minute)"
  rm -rf "$venv"
  "$python" -m venv "$venv"
  run_pip --upgrade 'pip>=25.1' # the first that knows --group
  say "installing heroctl and its development tools"
  run_pip --constraint "$root/requirements.lock" --group "$root/pyproject.toml:dev" --editable "$root"
}

ensure_environment() {
  local python wanted
  python=$(find_python)
  wanted=$(stamp_of "$python")
  # Two scripts that start at once must not build the same folder.
  exec 9<"$root/pyproject.toml"
  flock 9
  if [ ! -x "$venv/bin/heroctl" ] || [ "$(cat "$venv/stamp" 2>/dev/null)" != "$wanted" ]; then
    make_environment "$python"
    printf '%s\n' "$wanted" >"$venv/stamp"
  fi
  exec 9<&-
  export PATH=$venv/bin:$PATH
  cd "$root"
}

ensure_environment
