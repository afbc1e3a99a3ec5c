#!/usr/bin/env bash
# Runs tests/integration/test_gpu.py with all layers on a GPU that is none: llama.cpp's Vulkan backend on Mesa's software driver
# (lavapipe, whose device is called llvmpipe). Makes .venv-vulkan first, which takes up to an hour on 2 cores, once.
# Arguments go to pytest. Tests fail where layers stay on the CPU. Safe to run again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1
unset SOURCE_DATE_EPOCH # llama.cpp would build for a generic CPU, several times slower
readonly BIN=.venv-vulkan/bin LOG=.venv-vulkan/install.log HEADERS=${VULKAN_HEADERS:-/usr/include}
# No tools, examples or projectors: shaders take long enough.
readonly CMAKE="-DGGML_VULKAN=on -DLLAVA_BUILD=off -DLLAMA_BUILD_TOOLS=off -DLLAMA_BUILD_EXAMPLES=off -DLLAMA_BUILD_TESTS=off -DVulkan_INCLUDE_DIR=$HEADERS"

die() {
  printf 'localprompt: %s\n' "$@" >&2
  exit 1
}

driver() { find /usr/share/vulkan/icd.d /etc/vulkan/icd.d -name 'lvp_icd*.json' 2>/dev/null | head -n 1; }

check_packages() {
  local -a missing=()
  [ -n "$(driver)" ] || missing+=(mesa-vulkan-drivers)
  command -v glslc >/dev/null || missing+=(glslc)
  [ -e "$HEADERS/vulkan/vulkan.hpp" ] || missing+=(libvulkan-dev)
  [ -e /usr/include/spirv/unified1/spirv.hpp ] || missing+=(spirv-headers)
  command -v c++ >/dev/null || missing+=(build-essential)
  [ ${#missing[@]} = 0 ] || die "missing for a Vulkan build: ${missing[*]}" \
    "on Debian and Ubuntu: $([ "$(id -u)" = 0 ] || echo 'sudo ')apt-get install ${missing[*]}"
  grep -q VK_EXT_layer_settings "$HEADERS/vulkan/vulkan_core.h" ||
    die "the Vulkan headers in $HEADERS are too old for llama.cpp (those of Debian 13 are not)" \
      "name a folder with newer ones: VULKAN_HEADERS=DIR make test-vulkan"
}

install() {
  [ -x $BIN/python ] || python3 -m venv .venv-vulkan || die "python3 cannot make virtual environments"
  local pinned
  pinned=$(sed -nE 's/^ *"(llama-cpp-python==[0-9.]+)".*/\1/p' pyproject.toml)
  echo "localprompt: building $pinned for Vulkan into .venv-vulkan; $LOG tells how far it is"
  # Without its cache: pip takes a wheel that it built before, whatever it was built for.
  if ! { $BIN/python -m pip install --quiet --upgrade 'pip>=25.1' &&
    CMAKE_ARGS="$CMAKE ${CMAKE_ARGS:-}" $BIN/python -m pip install --verbose --no-cache-dir --no-binary llama-cpp-python \
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
