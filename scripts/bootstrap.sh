#!/bin/sh
# Sets up what one use of this repository needs; running it again costs next to nothing.
#   run, engines   the console and its private local servers
#   test           the above, the test and lint tools, a browser and Debian's PostgreSQL
#   wheel          builds the frontend from scratch and the wheel into dist/
#   lock           resolves the dependencies again into requirements/
set -eu
cd "$(dirname "$0")/.."
mode=${1:-run}
UV_VERSION=0.13.9 # installed where no uv of at least 0.13 is on PATH

export UV_SYSTEM_CERTS=1 UV_HTTP_RETRIES=8 UV_HTTP_TIMEOUT=120 UV_NO_PROGRESS=1 PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf 'bootstrap: %s\n' "$*" >&2; }

retry() {
  for pause in 2 5 10; do
    "$@" && return 0
    say "failed, trying again in $pause s: $*"
    sleep "$pause"
  done
  "$@"
}

find_uv() {
  if command -v uv >/dev/null && uv --version | grep -Eq '^uv (0\.(1[3-9]|[2-9][0-9])|[1-9])'; then
    uv=uv
  else
    uv=.tools/bin/uv
    if ! "$uv" --version 2>/dev/null | grep -q "^uv $UV_VERSION"; then
      # --target needs neither python3-venv nor leave from an externally managed Python
      retry python3 -m pip install --quiet --retries 8 --root-user-action ignore --upgrade --target .tools "uv==$UV_VERSION"
    fi
  fi
  # uv does not read pip's settings: hand it the index that pip was given
  index=${PIP_INDEX_URL:-$(python3 -m pip config get global.index-url 2>/dev/null || true)}
  if [ -n "$index" ] && [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]; then export UV_DEFAULT_INDEX="$index"; fi
}

install_python() { # the lock's name; installs and never removes, so that `run` keeps what `test` brought
  [ -x .venv/bin/python ] || "$uv" venv --quiet .venv
  retry "$uv" pip install --quiet --python .venv --compile-bytecode --require-hashes -r "requirements/$1.txt"
  retry "$uv" pip install --quiet --python .venv --no-deps -e .
}

missing_packages() {
  /sbin/ldconfig -p 2>/dev/null | grep -q 'libcurl\.so\.4' || echo libcurl4 # the bundled mongod links it
  [ "$1" = test ] || return 0
  command -v chromium >/dev/null || echo chromium
  [ -d /usr/share/fonts/truetype/dejavu ] || echo fonts-dejavu-core
  ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || echo postgresql
}

apt() { retry apt-get -qq -o Acquire::Retries=5 -o DPkg::Lock::Timeout=300 "$@" </dev/null >/dev/null; }

install_system() {
  wanted=$(missing_packages "$1" | tr '\n' ' ')
  [ -n "$wanted" ] || return 0
  if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
    say "missing on this machine: $wanted"
    say "please run: sudo apt-get install --no-install-recommends $wanted"
    [ "$1" != test ] || exit 1
    say "going on without: only the private MongoDB needs it"
    return 0
  fi
  say "installing $wanted"
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq -o Acquire::Retries=5 update </dev/null >/dev/null || say "apt-get update failed, going on with the lists at hand"
  case $wanted in *postgresql*)
    # only the server's programs are wanted: no cluster may be made or started
    apt install --no-install-recommends postgresql-common
    sed -i 's/^#* *create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf ;;
  esac
  # shellcheck disable=SC2086 # the list is meant to split
  apt install --no-install-recommends $wanted
}

compile_lock() { # the lock's name, then what goes into it
  name=$1
  shift
  retry "$uv" pip compile --quiet --universal --generate-hashes --no-annotate --no-header --no-emit-index-url \
    "$@" pyproject.toml -o "requirements/$name.txt"
}

find_uv
case $mode in
  run | engines)
    install_python run
    install_system run
    .venv/bin/python scripts/build_frontend.py ;;
  test)
    install_python test
    install_system test
    NODE_USE_SYSTEM_CA=1 retry .venv/bin/python -c 'from tests.integration.issuers import install_provider; install_provider()'
    .venv/bin/python scripts/build_frontend.py ;;
  wheel)
    install_python run
    .venv/bin/python scripts/build_frontend.py --force
    retry "$uv" build --quiet --wheel --out-dir dist ;;
  lock)
    compile_lock run --extra engines --group build
    compile_lock test --extra engines --extra otel --group dev -c requirements/run.txt ;;
  *)
    say "unknown mode: $mode"
    exit 2 ;;
esac
