#!/usr/bin/env bash
# Runs every fuzz target for so many seconds (60 each unless told), on one core, with libFuzzer and the address sanitizer.
#
#   bash fuzz/run.sh [SECONDS] [TARGET...]
#
# Any toolchain will do (RUSTC_BOOTSTRAP), and cargo-fuzz is not needed. A finding is kept in fuzz/artifacts and
# ends the run with a non-zero exit code; corpora are kept in fuzz/corpus.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

seconds=${1:-60}
shift || true
targets=("$@")
[ "${#targets[@]}" != 0 ] || targets=(path_judge provider_answer query token_answer)
triple=$(rustc -vV | sed -n 's/^host: //p')
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
  -Cllvm-args=-sanitizer-coverage-trace-compares -Zsanitizer=address -Ccodegen-units=1"
cargo build --release --target "$triple" --bins

mkdir -p artifacts
for target in "${targets[@]}"; do
  mkdir -p "corpus/$target"
  seeds=()
  [ ! -d "seeds/$target" ] || seeds=("seeds/$target")
  echo "== $target for $seconds s"
  "target/$triple/release/$target" -max_total_time="$seconds" -max_len=4096 -print_final_stats=1 \
    -artifact_prefix="artifacts/$target-" "corpus/$target" "${seeds[@]}" 2>&1 |
    grep -E "^(stat::|==|SUMMARY|Done|thread|assertion|  (left|right))" | tail -20
done
