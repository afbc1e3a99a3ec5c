#!/usr/bin/env bash
# Runs tests/integration/test_gpu.py with all layers on a GPU that is none: llama.cpp's Vulkan backend on Mesa's software driver
# (lavapipe, whose device is called llvmpipe). Makes .venv-vulkan first, which takes up to an hour on 2 cores, once; on
# Debian and Ubuntu root gets the packages for it, and newer Vulkan headers are fetched where those there are too old.
# Arguments go to pytest. Tests fail where layers stay on the CPU. Safe to run again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1
unset SOURCE_DATE_EPOCH # llama.cpp would build for a generic CPU, several times slower
readonly BIN=.venv-vulkan/bin LOG=.venv-vulkan/install.log APT=$PWD/.venv-vulkan/apt
# No tools, examples or projectors: shaders take long enough.
readonly CMAKE="-DGGML_VULKAN=on -DLLAVA_BUILD=off -DLLAMA_BUILD_TOOLS=off -DLLAMA_BUILD_EXAMPLES=off -DLLAMA_BUILD_TESTS=off"
HEADERS=${VULKAN_HEADERS:-/usr/include}

die() {
  printf 'localprompt: %s\n' "$@" >&2
  exit 1
}

driver() { find /usr/share/vulkan/icd.d /etc/vulkan/icd.d -name 'lvp_icd*.json' 2>/dev/null | head -n 1; }

missing() {
  [ -n "$(driver)" ] || echo mesa-vulkan-drivers
  command -v glslc >/dev/null || echo glslc
  [ -e /usr/include/vulkan/vulkan.hpp ] || echo libvulkan-dev
  [ -e /usr/include/spirv/unified1/spirv.hpp ] || echo spirv-headers
  command -v c++ >/dev/null || echo build-essential
}

# Root of a container or a CI machine gets what is missing; anybody else is told.
check_packages() {
  local -a packages
  mapfile -t packages < <(missing)
  if [ ${#packages[@]} != 0 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "localprompt: installing ${packages[*]}"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${packages[@]}"; } </dev/null >/dev/null || true
    mapfile -t packages < <(missing)
  fi
  [ ${#packages[@]} = 0 ] || die "missing for a Vulkan build: ${packages[*]}" \
    "on Debian and Ubuntu: $([ "$(id -u)" = 0 ] || echo 'sudo ')apt-get install ${packages[*]}"
}

new_enough() { grep -qs VK_EXT_layer_settings "$HEADERS/vulkan/vulkan_core.h"; }

# Debian 12's headers are older than llama.cpp wants; those of Debian 13 go into .venv-vulkan, past apt's own lists and folders.
fetch_headers() {
  local site
  site=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 2>/dev/null | head -n 1) || true
  [ -n "$site" ] || return 0
  echo "localprompt: the Vulkan headers here are too old for llama.cpp; fetching those of Debian 13 into .venv-vulkan"
  mkdir -p "$APT/lists/partial" "$APT/cache/archives/partial"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $site trixie main" >"$APT/sources.list"
  (
    cd "$APT"
    options=(-qq -o "Dir::Etc::SourceList=$APT/sources.list" -o Dir::Etc::SourceParts=- -o "Dir::State::Lists=$APT/lists"
      -o "Dir::Cache=$APT/cache" -o APT::Sandbox::User=root)
    apt-get "${options[@]}" update && apt-get "${options[@]}" download libvulkan-dev && dpkg-deb --extract libvulkan-dev_*.deb .
  ) || return 0
  HEADERS=$APT/usr/include
}

check_headers() {
  new_enough || fetch_headers
  new_enough || die "the Vulkan headers in $HEADERS are too old for llama.cpp (those of Debian 13 are not)" \
    "name a folder with newer ones: VULKAN_HEADERS=DIR make test-vulkan"
}

install() {
  check_headers
  [ -x $BIN/python ] || python3 -m venv .venv-vulkan || die "python3 cannot make virtual environments"
  local pinned
  pinned=$(sed -nE 's/^ *"(llama-cpp-python==[0-9.]+)".*/\1/p' pyproject.toml)
  echo "localprompt: building $pinned for Vulkan into .venv-vulkan; $LOG tells how far it is"
  # Without its cache: pip takes a wheel that it built before, whatever it was built for.
  if ! { $BIN/python -m pip install --quiet --upgrade 'pip>=25.1' &&
    CMAKE_ARGS="$CMAKE -DVulkan_INCLUDE_DIR=$HEADERS ${CMAKE_ARGS:-}" $BIN/python -m pip install --verbose --no-cache-dir --no-binary llama-cpp-python \
      --config-settings build-dir="$PWD/.venv-vulkan/build" "$pinned" &&
    $BIN/python -m pip install --editable . --group dev; } </dev/null >$LOG 2>&1; then
    tail -n 20 $LOG >&2
    die "the build failed; all of it is in $LOG"
  fi
  touch .venv-vulkan/.installed
}

# Once without and once with 16 bits inside, which the device can.
run_tests() {
  export GGML_VK_VISIBLE_DEVICES=0 VK_DRIVER_FILES VK_ICD_FILENAMES LOCALPROMPT_TEST_GPU=llvmpipe
  VK_DRIVER_FILES=$(driver)
  VK_ICD_FILENAMES=$VK_DRIVER_FILES # the same for older loaders
  GGML_VK_DISABLE_F16=1 $BIN/python -m pytest tests/integration/test_gpu.py --timeout 1200 -rP "$@"
  $BIN/python -m pytest tests/integration/test_gpu.py --timeout 1200 -rP "$@"
}

check_packages
[ .venv-vulkan/.installed -nt pyproject.toml ] || install
run_tests "$@"
