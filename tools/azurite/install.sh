#!/usr/bin/env bash
# Installs Azurite, the Azure Blob server of the tests, into .tools/azurite. Needs npm. Does nothing if this was done before.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

to=../../.tools/azurite
if cmp -s package-lock.json "$to/installed"; then
	exit 0
fi
if [ "$(node -p 'process.versions.node.split(".")[0]')" -lt 20 ]; then
	echo "The tests need Node.js 20 or later for Azurite; this is $(node --version)." >&2
	exit 1
fi
echo "Installing Azurite for the tests"
mkdir -p "$to"
rm -f "$to/installed"
cp package.json package-lock.json "$to"
npm ci --prefix "$to" --ignore-scripts --no-audit --no-fund --loglevel=error
cp package-lock.json "$to/installed"
