#!/usr/bin/env bash
# Runs schemathesis against a server of its own: every call of the OpenAPI document with inputs that it allows and with inputs
# that it forbids, all checks on. SECONDS_MAX bounds the run; what else is given is handed on to schemathesis.
set -euo pipefail
cd "$(dirname "$0")/.."

# Pinned: a new version finds new things, and that is to be a decision.
version=4.32.5
seconds_max=${SECONDS_MAX:-60}
venv=target/schemathesis
server=./target/debug/rollcall

python=$(command -v python3) || { echo "Python is missing: apt-get install python3-venv" >&2; exit 69; }
if [ "$("$venv/bin/schemathesis" --version 2>/dev/null | sed 's/.* //')" != "$version" ]; then
    "$python" -m venv "$venv" || { echo "Python cannot make environments: apt-get install python3-venv" >&2; exit 69; }
    "$venv/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$version" ||
        { echo "schemathesis $version cannot be installed: is there a network?" >&2; exit 69; }
fi

folder=$(mktemp -d)
pid=
finish() {
    if [ -n "$pid" ]; then
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    fi
    rm -rf "$folder"
}
trap finish EXIT

ROLLCALL_HTTP__REQUESTS_PER_KEY_PER_S=0 \
    "$server" dev --json --listen 127.0.0.1:0 --data-dir "$folder/data" >"$folder/ready" 2>"$folder/log" &
pid=$!
for _ in $(seq 600); do
    if [ -s "$folder/ready" ] || ! kill -0 "$pid" 2>/dev/null; then break; fi
    sleep 0.1
done
[ -s "$folder/ready" ] || { tail -n 20 "$folder/log" >&2; exit 1; }

field() { "$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$folder/ready" "$1"; }
export ROLLCALL_TEST_KEY
ROLLCALL_TEST_KEY=$(field api_key)
"$venv/bin/schemathesis" --config-file scripts/schemathesis.toml run "$(field url)/openapi.json" \
    --continue-on-failure --no-color --seed 1 --max-time "$seconds_max" "$@"

if grep -q 'panicked at' "$folder/log"; then
    echo "the server hit a bug:" >&2
    grep -A 3 'panicked at' "$folder/log" >&2
    exit 1
fi
