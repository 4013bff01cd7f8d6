#!/usr/bin/env bash
# The main job, end to end: a messy CSV becomes clean rows in SQLite, and a receipt that balances.
# `make demo` builds what this needs and calls it. ROWS says how many records (120000); KEEP=1 leaves everything running.
set -euo pipefail
cd "$(dirname "$0")/.."

bin=${BIN:-$PWD/bin}
export DEMO_DIR=${DEMO_DIR:-$PWD/.demo}
export LUME_DATA=$DEMO_DIR/lume
batch=$DEMO_DIR/inbox/batch-001.csv
lume=$bin/lume

bold='' plain=''
if [ -t 1 ]; then bold=$'\033[1m' plain=$'\033[0m'; fi
step() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }

# A demo that was left running would hold the folder.
if [ -f "$LUME_DATA/endpoints.json" ]; then
	old=$(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' "$LUME_DATA/endpoints.json")
	if [ "$(cat "/proc/$old/comm" 2>/dev/null)" = lume ]; then
		kill "$old"
		while kill -0 "$old" 2>/dev/null; do sleep 0.1; done
	fi
fi
rm -rf "$DEMO_DIR"
mkdir -p "$DEMO_DIR/inbox"

step "1. Write a messy CSV, as other people deliver it"
"$bin/messy" -rows "${ROWS:-120000}" -out "$batch" -truth "$DEMO_DIR/truth.json"
ls -l "$batch" | awk '{ print $5, "bytes in", $NF }'

step "2. Start Lume: lume up"
"$lume" up --data "$LUME_DATA" --port 0 --root "$DEMO_DIR" >"$DEMO_DIR/lume.log" 2>&1 &
up=$!
stop() {
	kill "$up" 2>/dev/null || true
	wait "$up" 2>/dev/null || true
}
trap stop EXIT
for _ in $(seq 600); do
	[ ! -f "$LUME_DATA/endpoints.json" ] || break
	kill -0 "$up" 2>/dev/null || { cat "$DEMO_DIR/lume.log" >&2; exit 1; }
	sleep 0.1
done
cat "$DEMO_DIR/lume.log"

step "3. Say what to connect, and how invoices become rows"
"$lume" connectors apply -f examples/connectors
"$lume" connectors test inbox
"$lume" flows apply -f examples/invoice_cleaner.yaml

step "4. Look at the first records before anything is written"
"$lume" flows preview invoice_cleaner "file://$batch" --records 5

step "5. Publish an immutable version, and run it"
"$lume" flows publish invoice_cleaner --comment "the demo" --alias production
"$lume" run invoice_cleaner:production "$batch" --metadata '{"demo": true}' --wait

step "6. What was rejected, and why"
run=$("$lume" runs list --limit 1 -o jsonl 2>/dev/null | sed -n 's/.*"run_id":"\(run_[0-9A-Z]*\)".*/\1/p' | head -n 1)
"$lume" runs rejects "$run" --stage ingest --limit 4
"$lume" runs rejects "$run" --stage transform --limit 12

# The run must end PARTIAL_FAILED: everything good is loaded, everything bad is kept.
"$lume" runs list --state partial_failed --limit 1 -o jsonl | grep -q "$run" || {
	echo "The demo did not end PARTIAL_FAILED." >&2
	exit 1
}

step "Where everything is"
api=$(sed -n 's/.*"control_http": "\(.*\)".*/\1/p' "$LUME_DATA/endpoints.json")
cat <<TEXT
rows      $DEMO_DIR/warehouse.db, table invoices
rejects   $DEMO_DIR/warehouse.db, table invoices_rejects, and: lume runs rejects $run
receipt   $DEMO_DIR/warehouse.db, table _lume_runs, and: lume runs get $run
truth     $DEMO_DIR/truth.json, what the generator wrote
API       http://$api/v1, key in $LUME_DATA/admin.key
TEXT
if [ -n "${KEEP:-}" ]; then
	trap - EXIT
	disown "$up"
	echo
	echo "Lume goes on (process $up). Use it by: export LUME_DATA=$LUME_DATA. Stop it by: kill $up"
fi
