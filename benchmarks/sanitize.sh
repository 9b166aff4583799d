#!/usr/bin/env bash
# The contract tests under NVIDIA's compute-sanitizer: memcheck, initcheck, then racecheck in sets side by
# side, since racecheck follows every access to shared memory and takes up to 100 times as long. A line for
# each set; logs in the folder given. Ends with 1 where a set found an error or did not finish.
#
#     benchmarks/sanitize.sh LAUNCHER [LOGS]     LAUNCHER: ./saccade of a checkout or of a bundle --with-tests
set -uo pipefail
[ $# -ge 1 ] && [ -x "$1" ] || { echo "usage: sanitize.sh LAUNCHER [LOGS]: LAUNCHER is a checkout's or a bundle's ./saccade" >&2; exit 2; }
command -v compute-sanitizer >/dev/null || { echo "sanitize.sh: compute-sanitizer is not on the PATH; it comes with the CUDA toolkit" >&2; exit 2; }
export LAUNCHER=$(realpath "$1") LOGS=${2:-/tmp/saccade-sanitize}
mkdir -p "$LOGS"

rows='Norm|Activation|Advance|Elementwise|Optimizer|Patch|PixelUnshuffle|PolicyLoss'
# Tests that provoke index faults read before they refuse: memcheck runs them, the other tools not.
faultless='EmbeddingContractTest.(gath|scat|noR)|RopeContractTest.(rot|tab)|SamplingContractTest.(draw|aL|theN|aD|theO|aR)'

one() { # tool, seconds, tests
  local log start=$SECONDS
  log=$LOGS/$1-$(printf '%s' "$3" | tr -c 'A-Za-z0-9' '-' | cut -c1-60).log
  # Parameters of a kernel are counted by asking for one too many: no error of ours.
  timeout "$2" compute-sanitizer --tool "$1" --report-api-errors no --target-processes all --print-limit 20 \
    "$LAUNCHER" selftest --device cuda --only "$3" >"$log" 2>&1
  local status=$?
  printf '%-9s %4d s  %s  %s  %s\n' "$1" $((SECONDS - start)) \
    "$(grep -Eo '[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped' "$log" | tail -n 1 || true)" \
    "$(grep -Eo 'SUMMARY: .*' "$log" | sort -u | tr '\n' ' ')" "$3"
  [ $status = 0 ] && grep -q 'SUMMARY: 0 ' "$log" && ! grep -Eq 'SUMMARY: [1-9]' "$log"
}
export -f one

failed=0
side_by_side() { # how many at once; lines of: tool seconds tests
  xargs -P "$1" -L 1 bash -c 'one "$0" "$1" "$2"' || failed=1
}

side_by_side 4 <<SETS
memcheck 300 GemmContract|AttentionContract
memcheck 300 ($rows|Embedding|Rope|Sampling|Entropy|Head)ContractTest
initcheck 300 GemmContract|AttentionContract
initcheck 300 ($rows)ContractTest|$faultless|EntropyContractTest.(acc|res|a[A-Z])
SETS
side_by_side 12 <<SETS
racecheck 900 GemmContractTest.productsAreAccurate
racecheck 900 GemmContractTest.(epilogues|swiGlu|aRow)
racecheck 900 GemmContractTest.(aChain|nothing|anEmpty)
racecheck 900 AttentionContractTest.resultsAndGradients
racecheck 900 AttentionContractTest.(onlyCovered|large|repeated)
racecheck 900 AttentionContractTest.(decoding|aRecorded|chunked|aSequence)
racecheck 900 (Norm|PixelUnshuffle|Patch|Elementwise|Activation)ContractTest
racecheck 900 EntropyContractTest
racecheck 900 HeadContractTest
racecheck 900 (Advance|PolicyLoss|Optimizer)ContractTest
racecheck 900 $faultless
racecheck 900 TapeTest|OperationGradient
SETS
exit $failed
