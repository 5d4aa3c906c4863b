#!/bin/bash
# check-bench.sh LITEMAMBA_BENCH: the bench works on every device: what it times is checked, and it says when something is wrong.
set -u
bench=$1
failures=0

fail() {
    failures=$((failures + 1))
    echo "FAILED: $1"
}

# expect CODE ARGUMENT...
expect() {
    local code=$1 got=0
    shift
    "$bench" "$@" >/dev/null 2>&1 || got=$?
    [ $got -eq "$code" ] || fail "$* : exit code $got, not $code"
}

# Text and JSON have the same rows, and each was checked.
text=$("$bench" kernels blocks models --set tiny --seconds 0.001) || fail "tiny: exit code $?"
json=$("$bench" --set tiny --seconds 0.001 --json) || fail "tiny, JSON: exit code $?"
rows=$(grep -c ' checked' <<<"$text")
[ "$rows" -ge 11 ] || fail "$rows rows were checked"
[ "$rows" -eq "$(grep -c '"passed": true' <<<"$json")" ] || fail "JSON has other rows than the text"
grep -q 'FAILED' <<<"$text" && fail "a row failed: $text"
grep -q '"passed": false' <<<"$json" && fail "a row failed: $json"
grep -q '"copy_bytes_per_second"' <<<"$json" || fail "no limits"

# A profile has each dispatch of a row, and its shares are all of it.
profile=$("$bench" blocks models --set tiny --seconds 0.001 --no-check --profile) || fail "profile: exit code $?"
[ "$(grep -c '^    all ' <<<"$profile")" -eq "$(grep -c ' device ' <<<"$profile")" ] || fail "rows without a profile: $profile"
profile=$("$bench" blocks --set tiny --seconds 0.001 --no-check --profile --json) || fail "profile, JSON: exit code $?"
command -v python3 >/dev/null && { python3 -c '
import json, sys
for device in json.load(sys.stdin)["devices"]:
    for row in device["rows"]:
        assert len(row["profile"]) > 2 and abs(sum(line["share"] for line in row["profile"]) - 1) < 1e-3, row
' <<<"$profile" || fail "profile, JSON: $profile"; }

expect 2 nonsense
expect 2 --set nonsense
expect 2 --variant nonsense
expect 1 --device nonsense
expect 1 kernels --device cpu --kernel nonsense --shape B=1
expect 1 kernels --device cpu --kernel scan --shape X=1
expect 0 kernels --device cpu --kernel scan --shape "B=2 L=40 Di=9 N=3" --seconds 0.001
[ $failures -eq 0 ] && echo "$rows rows on all devices"
exit $((failures > 0))
