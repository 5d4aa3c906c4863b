#!/bin/bash
# check-cli.sh LITEMAMBA MODELS_DIR: the command as a user meets it: exit codes, one line of error that says what and where,
# output that is exact where it must be. On `cpu`, for it is everywhere.
set -u
litemamba=$1 models=$2
small=$models/jargon-small-stcn
export LITEMAMBA_DEVICE=cpu LITEMAMBA_TUNING=off
unset LITEMAMBA_VALIDATE
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
checks=0 failures=0

fail() {
    failures=$((failures + 1))
    echo "FAILED: $1"
    sed 's/^/    /' "$folder/out" "$folder/err" | head -20
}

# expect CODE PATTERN ARGUMENT...: the exit code, and a line of either stream that matches; nothing on stdout where it is empty. With a code above 0 stderr is one
# line that starts with the command's name, and stdout is empty.
expect() {
    local code=$1 pattern=$2 got=0
    shift 2
    checks=$((checks + 1))
    "$litemamba" "$@" >"$folder/out" 2>"$folder/err" </dev/null || got=$?
    if [ $got -ne "$code" ]; then
        fail "$* : exit code $got, not $code"
    elif [ -z "$pattern" ] && [ -s "$folder/out" ]; then
        fail "$* : something on stdout"
    elif [ -n "$pattern" ] && ! cat "$folder/out" "$folder/err" | grep -q -- "$pattern"; then
        fail "$* : no '$pattern'"
    elif [ "$code" -ne 0 ] && [ $# -gt 0 ] && { [ "$(wc -l <"$folder/err")" -ne 1 ] || [ -s "$folder/out" ]; }; then
        fail "$* : not one line of error"
    elif [ "$code" -ne 0 ] && [ $# -gt 0 ] && ! grep -q '^litemamba: ' "$folder/err"; then
        fail "$* : the error does not start with litemamba:"
    elif [ "$code" -eq 0 ] && [ -s "$folder/err" ] && [ -z "${loud:-}" ]; then
        fail "$* : something on stderr"
    fi
}

# same WHAT EXPECTED GOT
same() {
    checks=$((checks + 1))
    : >"$folder/out"
    printf 'expected %q\ngot      %q\n' "$2" "$3" >"$folder/err"
    if [ "$2" != "$3" ]; then fail "$1"; fi
}

# ---- help and usage -------------------------------------------------------------------------------------------------------
expect 0 '^litemamba [0-9]*\.[0-9]*\.[0-9]*$' --version
expect 0 '^usage: litemamba COMMAND' --help
expect 2 '^usage: litemamba COMMAND'
for command in devices info generate score run init verify tune compare; do
    expect 0 "^usage: litemamba $command" "$command" --help
    expect 0 "^usage: litemamba $command" help "$command"
    expect 2 "$command: no option '--nonsense' (see 'litemamba $command --help')" "$command" --nonsense
    expect 2 "$command: no option '-Z'" "$command" -Z
done
expect 2 "no command 'nonsense'" nonsense
expect 2 'is one argument too many' devices extra
expect 2 'DIR is missing' run
expect 2 -- '--json takes no value' devices --json=1
expect 2 -- '--prompt is missing' generate "$small"
expect 2 -- '--prompt: the value is missing' generate "$small" --prompt
expect 2 -- '--prompt and --prompts exclude each other' generate "$small" --prompt x --prompts /dev/null
expect 2 "batch: '0' is below 1" generate "$small" --prompts /dev/null --batch 0
expect 2 'go with --prompt alone' generate "$small" --prompts /dev/null --save-state "$folder/state"
expect 2 'go with --prompt alone' generate "$small" --prompt x --json --load-state "$folder/state"
expect 2 -- '--save-state and --stop exclude each other' generate "$small" --prompt x --save-state "$folder/state" --stop y
stops=()
for i in $(seq 33); do stops+=(--stop "$i"); done
expect 2 'stop: more than 32 of them' generate "$small" --prompt x "${stops[@]}"
expect 2 -- '--text is missing' score "$small"
expect 2 -- '--input is missing' run "$folder/x"
expect 2 -- '--output is missing' run "$folder/x" --input x.npy
for number in '' ' 5' +5 -5 5.0 0x5 5x 1e2 18446744073709551616; do
    expect 2 "tokens: '.*' is not a whole number" generate "$small" --prompt x -n "$number"
done
expect 2 "tokens: '4294967296' is above 4294967295" generate "$small" --prompt x -n 4294967296
expect 2 "tokens: '0' is below 1" generate "$small" --prompt x -n 0
for number in '' ' 1' nan inf 0x1 1.0.0 1e999; do
    expect 2 "temperature: '.*' is not a number" generate "$small" --prompt x --temperature "$number"
done
expect 2 "top-p: '1.5' is not within 0 and 1" generate "$small" --prompt x --top-p 1.5
expect 2 "variant: 'nonsense' is not" init "$folder/new" --variant nonsense --d-model 8
expect 2 -- '--d-model is missing' init "$folder/new" --variant ptcn
expect 2 "dilations: '' is not a whole number" init "$folder/new" --variant ptcn --d-model 8 --dilations 1,,2
expect 2 "dilations: more than 32" init "$folder/new" --variant ptcn --d-model 8 --dilations "$(seq -s, 33)"
expect 2 "dt-rank: '0' is not" init "$folder/new" --variant ptcn --d-model 8 --dt-rank 0
expect 2 'go with --layers' init "$folder/new" --variant ptcn --d-model 8 --vocab-size 10
checks=$((checks + 1))
if [ -e "$folder/new" ]; then fail "a refused init made its folder"; fi

# ---- devices and folders ----------------------------------------------------------------------------------------------------
expect 0 '^cpu  *processor ' devices
expect 0 '^reference  *reference ' devices
expect 0 '"backend": "cpu"' devices --json
expect 1 'nonsense' generate "$small" --prompt x --device nonsense
expect 1 'nonsense:7' info "$folder/nonsense:7"
expect 0 '^variant  *stcn$' info "$small"
expect 0 '^dilations  *1 2 4$' info "$small"
expect 0 '^variant  *ptcn$' info

# ---- generate and score -----------------------------------------------------------------------------------------------------
for model in "$models"/jargon-small-*; do
    greedy=$(sed -n 's/^ *"greedy_80": "\(.*\)",$/\1/p' "$model/reference.json")
    got=$(printf ':hacker: n.\n\n' | "$litemamba" generate "$model" --prompt - --temperature 0 -n 80)
    same "greedy text of ${model##*/}" "$(printf ':hacker: n.\n\n%b' "$greedy")" "$got"
done
first=$("$litemamba" generate "$small" --prompt 'LOVE, n.' -n 50 --seed 7)
same "the same seed gives the same text" "$first" "$("$litemamba" generate "$small" --prompt 'LOVE, n.' -n 50 --seed 7)"
second=$("$litemamba" generate "$small" --prompt 'LOVE, n.' -n 50 --seed 8)
checks=$((checks + 1))
if [ "$first" = "$second" ]; then fail "another seed gives the same text"; fi
loud=1 expect 0 'tokens/s' generate "$small" --prompt x -n 3 --stats
expect 1 'empty' generate "$small" --prompt ''

# Many at once: what each prompt alone gives, in the order of the file, whatever the batch.
printf 'LOVE, n.\nThe \nA program that runs on\nx\n:foo: \n1. \nlast line without an end' >"$folder/prompts"
number=0 alone=
while IFS= read -r line || [ -n "$line" ]; do
    alone+=$("$litemamba" generate "$small" --prompt "$line" -n 30 --seed $((7 + number)))$'\n'
    number=$((number + 1))
done <"$folder/prompts"
for batch in 1 3 8; do
    got=$("$litemamba" generate "$small" --prompts "$folder/prompts" -n 30 --seed 7 --batch $batch; echo .)
    same "prompts, $batch at a time" "$alone." "$got"
done
same "prompts in pieces" "$alone." "$("$litemamba" generate "$small" --prompts "$folder/prompts" -n 30 --seed 7 --chunk 3; echo .)"
same "prompts from a pipe" "$alone." "$("$litemamba" generate "$small" --prompts - -n 30 --seed 7 <"$folder/prompts"; echo .)"
loud=1 expect 0 '^prompts  *7 of [0-9]* tokens, 8 at a time' generate "$small" --prompts "$folder/prompts" -n 3 --stats
printf 'a\n\nb\n' >"$folder/gap"
expect 1 'gap: line 2: empty' generate "$small" --prompts "$folder/gap"
expect 1 'standard input: no prompt' generate "$small" --prompts -
expect 1 'nonsense.txt: No such file' generate "$small" --prompts "$folder/nonsense.txt"
expect 1 'directory' generate "$small" --prompts "$folder"
expect 1 'stop: empty' generate "$small" --prompt x --stop ''

# Stop sequences: the text before the first of them.
whole=$("$litemamba" generate "$small" --prompt 'The ' -n 60 -t 0)
stop=${whole:30:4}
rest=${whole#The }
same "--stop" "The ${rest%%"$stop"*}" "$("$litemamba" generate "$small" --prompt 'The ' -n 60 -t 0 --stop nonsense --stop "$stop")"

# JSON: a line a prompt, valid whatever the bytes are.
printf 'The \ncaf\xc3\xa9 "\\\t\xe2\x82\xac\nbad \xc3 \xed\xa0\x80\x00\xff\n' >"$folder/bytes"
"$litemamba" generate "$small" --prompts "$folder/bytes" -n 60 -t 0 --stop "$stop" --json >"$folder/json"
sed -n 1p "$folder/json" >"$folder/line"
same "JSON of a text that a stop ended" "{\"prompt\": \"The \", \"text\": \"${rest%%"$stop"*}\", \"tokens\": $(
    printf '%s' "${rest%%"$stop"*}" | wc -c | tr -d ' '), \"stopped\": \"stop\"}" "$(sed 's/\\n/\n/g' "$folder/line")"
same "JSON of UTF-8" '{"prompt": "café \"\\\t€", "text": ' "$(sed -n 2p "$folder/json" | grep -o '^.*"text": ')"
same "JSON of other bytes" '{"prompt": "bad � ���\u0000�", "prompt_bytes": [98, 97, 100, 32, 195, 32, 237, 160, 128, 0, 255], "text": ' \
    "$(sed -n 3p "$folder/json" | grep -o '^.*"text": ')"
same "lines of JSON" 3 "$(wc -l <"$folder/json" | tr -d ' ')"
expect 0 '^{"prompt": "x", "text": ".*", "tokens": 5, "stopped": "length"}$' generate "$small" --prompt x -n 5 --json
if command -v python3 >/dev/null; then
    checks=$((checks + 1))
    if ! python3 -c 'import json, sys; [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]' "$folder/json" 2>"$folder/err"; then
        fail "JSON that Python refuses"
    fi
fi

expect 1 'nonsense.txt: No such file' score "$small" --text "$folder/nonsense.txt"
expect 1 'at least two tokens' score "$small" --text /dev/null
expect 1 'directory' score "$small" --text "$folder"

# A text longer than a piece: the losses of one call and of a pipe are the same, and a model scores English better than chance.
{ for i in 1 2 3 4 5 6 7 8 9 10; do "$litemamba" generate "$small" --prompt "$i. The " -n 300; done; } >"$folder/text"
expect 0 '^nats a token' score "$small" --text "$folder/text"
from_file=$(sed -n 's/^nats a token *//p' "$folder/out")
from_pipe=$("$litemamba" score "$small" --text - <"$folder/text" | sed -n 's/^nats a token *//p')
same "a file and a pipe score the same" "$from_file" "$from_pipe"
with_logits=$("$litemamba" score "$small" --text "$folder/text" --logits "$folder/logits.npy" | sed -n 's/^nats a token *//p')
checks=$((checks + 1))
if ! awk -v a="$from_file" -v b="$with_logits" 'BEGIN { exit !(a > 0.2 && a < 4 && a - b < 2e-5 && b - a < 2e-5) }'; then
    fail "nats a token: $from_file from losses, $with_logits from logits"
fi
tokens=$(wc -c <"$folder/text")
same "the size of the logits" $((tokens * 256 * 4 + 128)) "$(wc -c <"$folder/logits.npy")"

# ---- init and run -------------------------------------------------------------------------------------------------------------
expect 0 '' init "$folder/block" --variant dpwc --d-model 8 --d-state 3 --d-conv 2 --dilations 1,3 --expand 1.5 --dt-rank 2 \
    --dt-min 0.01 --dt-max 0.2 --dt-init constant --dt-scale 0.5 --dt-init-floor 0.001 --no-conv-bias --bias --seed 5
expect 0 '^dilations  *1 3$' info "$folder/block"
expect 0 '^d_inner  *12 ' info "$folder/block"
expect 0 '' init "$folder/again" --variant dpwc --d-model 8 --d-state 3 --d-conv 2 --dilations 1,3 --expand 1.5 --dt-rank 2 \
    --dt-min 0.01 --dt-max 0.2 --dt-init constant --dt-scale 0.5 --dt-init-floor 0.001 --no-conv-bias --bias --seed 5
checks=$((checks + 1))
if ! cmp -s "$folder/block/model.safetensors" "$folder/again/model.safetensors"; then fail "the same seed, other bytes"; fi
expect 1 'block' init "$folder/block" --variant dpwc --d-model 8
expect 1 'a bare block' generate "$folder/block" --prompt x
expect 1 'a bare block' score "$folder/block" --text "$folder/text"
expect 1 'nonsense.npy' run "$folder/block" --input "$folder/nonsense.npy" --output "$folder/y.npy"
expect 1 'an array of 2 dimensions' run "$folder/block" --input "$folder/logits.npy" --output "$folder/y.npy"
# (1, 2, 8) and (1, 2, 9) zeros, as NumPy writes them.
npy() { printf '\x93NUMPY\x01\x00\x76\x00'; printf '%-117s\n' "{'descr': '<f4', 'fortran_order': False, 'shape': ($1), }"; head -c $(($2 * 4)) /dev/zero; }
npy '1, 2, 8' 16 >"$folder/x.npy"
npy '1, 2, 9' 18 >"$folder/wide.npy"
expect 1 "the block's d_model is 8" run "$folder/block" --input "$folder/wide.npy" --output "$folder/y.npy"
expect 1 'a language model' run "$small" --input "$folder/x.npy" --output "$folder/y.npy"
expect 1 'nowhere' run "$folder/block" --input "$folder/x.npy" --output "$folder/nowhere/y.npy"
expect 0 '' run "$folder/block" --input "$folder/x.npy" --output "$folder/y.npy"
same "the output's size" "$(wc -c <"$folder/x.npy")" "$(wc -c <"$folder/y.npy")"
# Two sequences: four tokens in two pieces, and in two runs from state to state.
npy '2, 4, 8' 64 >"$folder/four.npy"
npy '2, 2, 8' 32 >"$folder/two.npy"
expect 0 '' run "$folder/block" --input "$folder/four.npy" --output "$folder/y.npy" --chunk 2 --save-state "$folder/whole"
expect 0 '' run "$folder/block" --input "$folder/two.npy" --output "$folder/y.npy" --save-state "$folder/half"
expect 0 '' run "$folder/block" --input "$folder/two.npy" --output "$folder/y.npy" --load-state "$folder/half" --save-state "$folder/half"
checks=$((checks + 1))
if ! cmp -s "$folder/whole" "$folder/half"; then fail "states of two sequences, from run to run"; fi
expect 1 'half: states of 2 sequences, where the input has 1' run "$folder/block" --input "$folder/x.npy" --output "$folder/y.npy" \
    --load-state "$folder/half"
expect 0 '' init "$folder/lm" --variant baseline --d-model 8 --layers 2 --vocab-size 11 --untied
expect 0 '^vocabulary  *11$' info "$folder/lm"
same "token numbers in and out" 7 "$("$litemamba" generate "$folder/lm" --prompt '3 10, 4' -n 4 | wc -w | tr -d ' ')"
expect 1 "token 11 is not below the vocabulary's 11" generate "$folder/lm" --prompt '3 11'
expect 1 'not a token number' generate "$folder/lm" --prompt 'x'
printf '3 10, 4\n7\n' >"$folder/numbers"
expect 0 '^{"prompt": "3 10 4", "text": "[0-9]* [0-9]*", "tokens": 2, "stopped": "length"}$' \
    generate "$folder/lm" --prompts "$folder/numbers" -n 2 --json
same "token numbers, two lines" '4 2' "$("$litemamba" generate "$folder/lm" --prompts "$folder/numbers" -n 1 |
    awk '{ printf "%s%d", (NR > 1 ? " " : ""), NF } END { print "" }')"
expect 1 'line 2: byte 3: token 11 is not below' generate "$folder/lm" --prompts <(printf '1\n 11')

# ---- pipes --------------------------------------------------------------------------------------------------------------------
checks=$((checks + 1))
"$litemamba" generate "$small" --prompt x -n 100000 2>"$folder/err" | head -c 20 >"$folder/out"
status=("${PIPESTATUS[@]}")
if [ "${status[0]}" -ne 0 ] || [ -s "$folder/err" ]; then fail "a closed pipe: exit code ${status[0]}"; fi
checks=$((checks + 1))
yes 'The ' | head -400 >"$folder/prompts"
"$litemamba" generate "$small" --prompts "$folder/prompts" -n 100 --json 2>"$folder/err" | head -n 1 >"$folder/out"
status=("${PIPESTATUS[@]}")
if [ "${status[0]}" -ne 0 ] || [ -s "$folder/err" ]; then fail "a closed pipe, many prompts: exit code ${status[0]}"; fi
checks=$((checks + 1))
if [ -e /dev/full ] && "$litemamba" devices >/dev/full 2>"$folder/err"; then fail "a full device is not noticed"; fi
if [ -e /dev/full ] && ! grep -q '^litemamba: standard output: ' "$folder/err"; then fail "a full device is not named"; fi

echo "$checks checks of the command, $failures failed"
[ $failures -eq 0 ]
