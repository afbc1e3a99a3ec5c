#!/usr/bin/env bash
# Makes .venv and installs localprompt into it; with --dev also the tools for working on it. With --outside it makes
# .venv-outside instead: the programs that take exported prompts, for tests/outside. With --newest it makes .venv-newest:
# localprompt with the newest llama-cpp-python in the place of the one that it is made for. With --gpu cuda, metal, rocm
# or vulkan it builds llama.cpp anew for that, and all the rest as without. Safe to run again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1
unset SOURCE_DATE_EPOCH # llama.cpp would build for a generic CPU, several times slower
LOG=.venv/install.log
readonly PROMPTFOO=promptfoo@0.120.27 # the last for Node 20

die() {
  printf 'localprompt: %s\n' "$@" >&2
  exit 1
}

in_range() { "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; }

find_python() {
  local python
  for python in python3 python3.13 python3.12 python3.11 python3.10; do
    if in_range "$python"; then
      echo "$python"
      return
    fi
  done
  local found
  found=$(python3 --version 2>/dev/null || echo 'none')
  die "needs Python 3.10, 3.11, 3.12 or 3.13, found: $found" "install one of them, or uv (https://docs.astral.sh/uv), which brings its own"
}

as_root() { [ "$(id -u)" = 0 ] && echo "$1" || echo "sudo $1"; }

compiler_hint() {
  if [ "$(uname -s)" = Darwin ]; then
    echo "xcode-select --install"
  elif command -v apt-get >/dev/null; then
    as_root "apt-get install build-essential"
  elif command -v dnf >/dev/null; then
    as_root "dnf install gcc-c++ make"
  elif command -v pacman >/dev/null; then
    as_root "pacman -S base-devel"
  else
    echo "your system's packages for gcc and g++, or clang"
  fi
}

# macOS has /usr/bin/c++ before any compiler is installed: only compiling something tells.
can_compile() { echo 'int main() { return 0; }' | "${@:2}" -x "$1" -o /dev/null - >/dev/null 2>&1; }

check_compiler() {
  # shellcheck disable=SC2086 # CC may be several words, such as "ccache gcc"
  if ! can_compile c ${CC:-cc} || ! can_compile c++ ${CXX:-c++}; then
    die "llama.cpp is built from source, and no working C++ compiler was found" "install one with: $(compiler_hint)"
  fi
  keep_amx_configuration
}

# GCC 12 declares that the instruction that configures AMX reads 8 bytes, so it leaves out the stores of the others, and
# llama.cpp dies of an illegal instruction where it first multiplies repacked weights.
keep_amx_configuration() {
  local flags=(-fno-tree-dse -fno-dse)
  # shellcheck disable=SC2086 # as above
  if grep -qsw amx_tile /proc/cpuinfo && can_compile c++ ${CXX:-c++} "${flags[@]}"; then
    export CXXFLAGS="${flags[*]} ${CXXFLAGS:-}"
  fi
}

make_venv() {
  if [ -x .venv/bin/python ] && in_range .venv/bin/python; then
    return
  fi
  rm -rf .venv
  if command -v uv >/dev/null; then
    uv venv --quiet --seed --python '>=3.10,<3.14' .venv
  else
    local python
    python=$(find_python)
    "$python" -m venv .venv || die "$python cannot make virtual environments" "on Debian and Ubuntu: $(as_root 'apt-get install python3-venv')"
    .venv/bin/python -m pip install --quiet --upgrade 'pip>=25.1' # the first with --group
  fi
}

# Tells every few seconds that the installation is alive, and how far the compiler is where the log says so.
tick() {
  local steps
  while sleep 15 >/dev/null 2>&1; do
    steps=$(grep -oE '\[[0-9]+/[0-9]+\]' "$LOG" | tail -n 1 || true)
    printf 'localprompt: still at it after %d s %s\n' "$SECONDS" "$steps"
  done
}

install() {
  local -a command=(.venv/bin/python -m pip install --verbose)
  if command -v uv >/dev/null; then
    command=(uv pip install --verbose --python .venv/bin/python)
  fi
  tick &
  ticker=$!
  trap 'kill "$ticker" 2>/dev/null || true' EXIT
  if ! "${command[@]}" "$@" </dev/null >"$LOG" 2>&1; then
    tail -n 40 "$LOG" >&2
    die "the installation failed; its end is above, all of it in $LOG"
  fi
}

# Installs a Debian package where that is possible; the caller says what else could be done.
apt_install() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
  echo "localprompt: installing $1"
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$1"; } </dev/null >>"$LOG" 2>&1
}

install_outside() {
  LOG=.venv-outside/install.log
  local python
  if [ ! -x .venv-outside/bin/python ]; then
    python=$(find_python)
    "$python" -m venv .venv-outside || die "$python cannot make virtual environments" "on Debian and Ubuntu: $(as_root 'apt-get install python3-venv')"
  fi
  echo "localprompt: installing the programs outside into .venv-outside"
  if ! { .venv-outside/bin/python -m pip install --quiet --upgrade 'pip>=25.1' &&
    .venv-outside/bin/python -m pip install --group outside; } </dev/null >"$LOG" 2>&1; then
    tail -n 5 "$LOG" >&2
    die "the programs outside could not be installed from the Python package index; all of it is in $LOG" "without them: make test"
  fi
  if node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 22 || (a === 22 && b >= 22) || (a === 20 && b >= 20) ? 0 : 1)' 2>/dev/null && command -v npm >/dev/null; then
    # Without scripts: its database is not needed, and would be built or fetched.
    npm install --prefix .venv-outside/node --no-audit --no-fund --ignore-scripts --omit=optional --omit=peer "$PROMPTFOO" </dev/null >>"$LOG" 2>&1 ||
      die "$PROMPTFOO could not be installed from the npm registry; all of it is in $LOG" "without Node the tests of promptfoo are left out"
  else
    echo "localprompt: the tests of promptfoo are left out: they need Node 20.20 or 22.22 with npm" >&2
  fi
  command -v go >/dev/null || apt_install golang-go ||
    echo "localprompt: the tests of Modelfiles are left out: they need Go, such as $(as_root 'apt-get install golang-go')" >&2
  echo "localprompt: installed in $SECONDS s"
}

# The package index is asked each time: a release may have come since.
install_newest() {
  LOG=.venv-newest/install.log
  local python
  check_compiler
  if [ ! -x .venv-newest/bin/python ]; then
    python=$(find_python)
    "$python" -m venv .venv-newest || die "$python cannot make virtual environments" "on Debian and Ubuntu: $(as_root 'apt-get install python3-venv')"
  fi
  echo "localprompt: installing the newest llama-cpp-python into .venv-newest; where there is a new one it is compiled, which takes some minutes"
  # All requirements but the exact version of that one; then the package, whose own requirement would bring it back.
  if ! { .venv-newest/bin/python -m pip install --quiet --upgrade 'pip>=25.1' tomli &&
    .venv-newest/bin/python scripts/unpinned.py >.venv-newest/requirements.txt &&
    .venv-newest/bin/python -m pip install --upgrade --upgrade-strategy only-if-needed --group dev --requirement .venv-newest/requirements.txt &&
    .venv-newest/bin/python -m pip install --no-deps --editable .; } </dev/null >"$LOG" 2>&1; then
    tail -n 5 "$LOG" >&2
    die "the newest llama-cpp-python could not be installed; all of it is in $LOG"
  fi
  .venv-newest/bin/python -c 'import importlib.metadata as m; print("localprompt: testing llama-cpp-python", m.version("llama-cpp-python"))'
}

# The tests of reports show them in a browser; everything else goes without one.
install_chromium() {
  if command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; then
    return
  fi
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "localprompt: installing chromium for the tests of reports"
    if { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium; } </dev/null >"$LOG" 2>&1; then
      return
    fi
    tail -n 5 "$LOG" >&2
  fi
  local how="your system's package of Chromium"
  if command -v apt-get >/dev/null; then
    how="$(as_root "apt-get install chromium")"
  fi
  echo "localprompt: the tests of reports are left out, since no Chromium was found; install it with: $how" >&2
}

# pip and uv would take a wheel that they built before, whatever it was built for; so nothing of a cache is taken.
build_for_gpu() {
  local option pinned cache=(--no-cache-dir --force-reinstall)
  case "$1" in
  cuda) option=-DGGML_CUDA=on ;;
  metal) option=-DGGML_METAL=on ;;
  rocm) option=-DGGML_HIP=on ;;
  vulkan) option=-DGGML_VULKAN=on ;;
  *) die "unknown GPU '$1'; known: cuda, metal, rocm, vulkan" ;;
  esac
  check_compiler
  make_venv
  command -v uv >/dev/null && cache=(--no-cache --reinstall)
  pinned=$(sed -nE 's/^ *"(llama-cpp-python==[0-9.]+)".*/\1/p' pyproject.toml)
  echo "localprompt: building $pinned for $1 into .venv, which takes some minutes to an hour (once)"
  export CMAKE_ARGS="$option ${CMAKE_ARGS:-}"
  install "${cache[@]}" --no-deps --no-binary llama-cpp-python "$pinned"
  kill "$ticker" 2>/dev/null || true
}

main() {
  if ! .venv/bin/python -c 'import importlib.metadata as m; m.version("llama-cpp-python")' 2>/dev/null; then
    check_compiler
    echo "localprompt: installing into .venv; llama.cpp is compiled for this CPU, which takes some minutes (once)"
  fi
  make_venv
  install --editable . "$@"
  echo "localprompt: installed in $SECONDS s; to use it in this shell: . .venv/bin/activate"
}

case "${1:-}" in
"") main ;;
--dev)
  main --group dev
  install_chromium
  ;;
--outside) install_outside ;;
--newest) install_newest ;;
--gpu)
  build_for_gpu "${2:-}"
  main
  ;;
*) die "unknown option $1; known: --dev, --gpu, --newest, --outside" ;;
esac
