#!/usr/bin/env bash
# Installs fakesnow, which the tests of the connector to Snowflake start, into .tools/fakesnow. Quick if it is there.
set -euo pipefail
cd "$(dirname "$0")/../.."

wanted=tools/fakesnow/requirements.txt
venv=.tools/fakesnow
if cmp -s "$wanted" "$venv/installed.txt"; then
	exit 0
fi
echo "Installing fakesnow for the tests"
rm -rf "$venv"
python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check --no-input -r "$wanted"
cp "$wanted" "$venv/installed.txt"
