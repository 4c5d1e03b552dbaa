#!/usr/bin/env bash
# Everything that one GPU can tell, in under eight minutes: bash benchmarks/on_gpu.sh
#
#   bash benchmarks/on_gpu.sh [--smoke] [FOLDER [SECTION...]]
#
# Needs jax with CUDA, flax, optax, orbax, chex, jaxtyping and torch; no network, no data.
# FOLDER (default: on_gpu) gets SECTION.json and SECTION.txt of each section, a trace, and
# summary.txt. A section that fails, or takes longer than its budget, is named at the end;
# its log has what it knew by then. The others run, the more important first.
# --smoke: tiny sizes, to try it on a CPU.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
smoke=
if [ "${1:-}" = --smoke ]; then smoke=1; shift; fi
out=${1:-on_gpu}
only=" ${*:2} "  # sections to run; all where there are none
python=${PYTHON:-python}
budget=${BUDGET_S:-460}  # seconds for all of it
least=${LEAST_S:-10}     # seconds that a section is begun with
mkdir -p "$out" || exit 2
rm -f "$out"/*.json "$out"/*.txt
# A program that one section has compiled the next one finds.
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$out/compiled}
export TORCHINDUCTOR_CACHE_DIR=${TORCHINDUCTOR_CACHE_DIR:-$out/inductor}
export XLA_PYTHON_CLIENT_PREALLOCATE=false
failures=()

# section NAME SECONDS ARGUMENTS...: one section within its seconds and those left of all
section() {
  local name=$1 most=$2 left=$((budget - SECONDS)) start=$SECONDS status=0
  shift 2
  if [ "$only" != "  " ] && [[ "$only" != *" $name "* ]]; then return; fi
  if [ "$left" -lt "$least" ]; then
    failures+=("$name: not begun, the $budget s of all sections were used up")
    return
  fi
  if [ "$most" -gt "$left" ]; then most=$left; fi
  timeout -k 5 "$most" "$python" -m benchmarks "$@" --json "$out/$name.json" \
    >"$out/$name.txt" 2>&1 || status=$?
  if [ "$status" = 124 ] || [ "$status" = 137 ]; then
    failures+=("$name: stopped after $most s, see $out/$name.txt")
  elif [ "$status" != 0 ]; then
    failures+=("$name: status $status, $(tail -n 1 "$out/$name.txt" | cut -c -200)")
  fi
  echo "$name: $((SECONDS - start)) s, status $status"
}

if [ "$smoke" ]; then
  sections() {
    section step 500 step --batch 2 --size 32 --rounds 2
    section losses 200 losses --batch 16 --rounds 1 \
      --ways "product, PyTorch" "dense under jit"
    section augment 200 augment --batch 2 --size 32 --rounds 2 --no_step --no-peer
    section inference 200 inference --batch 2 --size 32 --rounds 2 --forms frozen
    section largest 400 largest --batches 2 3 --size 32 --steps 2
    section trace 200 trace --folder "$out/trace" --batch 2 --size 32 --steps 2
  }
else
  sections() {
    section step 190 step --rounds 7 --steps 5
    section trace 40 trace --folder "$out/trace"
    section vit 150 step --encoder vit_base16 --rounds 5 --steps 5 --no-released
    section losses 80 losses --batch 32768 --rounds 1 \
      --ways "product, PyTorch" "dense under jit"
    section inference 70 inference --batch 256 --calls 5 --dtype bfloat16 \
      --forms frozen
    section augment 30 augment --rounds 7 --no_step --no-peer
    section largest 150 largest --batches 1024 1536
  }
fi
sections

{
  "$python" -m benchmarks.summary "$out"
  echo
  printf 'failed: %s\n' "${failures[@]:-none}"
} | tee "$out/summary.txt"
[ ${#failures[@]} = 0 ]
