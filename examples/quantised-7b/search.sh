#!/bin/sh
# One paper's search with a quantised 7B: sh examples/quantised-7b/search.sh ape|protegi|opro|pe2 [options of optimize]
#
# First it says what is needed: gigabytes to download and in memory, then tokens and minutes on this machine.
# MODEL=... names another card or a file, TASK=... another task, PRESET=local the settings for one workstation.
set -eu

method=${1:?"name a method: ape, protegi, opro or pe2"}
shift
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
model=${MODEL:-qwen2.5-7b-instruct}
task=${TASK:-$here/../support-routing/task.yaml}
preset=${PRESET:-paper}

echo "== $model: what there is to download, and what it needs in memory"
localprompt models list | grep -e '^name ' -e "^$model " || echo "$model is a file"
[ -f "$model" ] || localprompt models pull "$model"
localprompt models check "$model"

echo "== $method, preset $preset: what the search is expected to cost on this machine"
localprompt optimize "$task" --model "$model" --method "$method" --preset "$preset" "$@" --dry-run

case " $* " in *" --dry-run "*) exit 0 ;; esac
echo "== the search; Ctrl-C keeps what it found, and localprompt resume goes on"
exec localprompt optimize "$task" --model "$model" --method "$method" --preset "$preset" "$@"
