#!/usr/bin/env bash
# Installs the servers that the tests start: Debian packages as root or with sudo (it names them and fails if it cannot), and
# the rest below .tools. What is there already is left alone.
set -euo pipefail
cd "$(dirname "$0")/.."

# bin_of prints where a PostgreSQL program is, on PATH or in Debian's folder of the newest version.
bin_of() {
	command -v "$1" || ls -d /usr/lib/postgresql/*/bin/"$1" 2>/dev/null | sort -V | tail -n 1
}

# packages installs Debian packages.
packages() {
	local as_root=()
	if [ "$(id -u)" -ne 0 ]; then
		if ! command -v sudo >/dev/null || ! sudo -n true 2>/dev/null; then
			echo "The tests need these packages: $*" >&2
			echo "Install them as root: apt-get install -y --no-install-recommends $*" >&2
			exit 1
		fi
		as_root=(sudo)
	fi
	if ! command -v apt-get >/dev/null; then
		echo "The tests need $* on PATH, and this system has no apt-get to install them with." >&2
		exit 1
	fi
	echo "Installing $* for the tests"
	export DEBIAN_FRONTEND=noninteractive
	"${as_root[@]}" apt-get update -q
	"${as_root[@]}" apt-get install -y -q --no-install-recommends "$@"
}

# azurite installs the Azure Blob server of tools/azurite.
azurite() {
	local to=.tools/azurite
	if cmp -s tools/azurite/package-lock.json "$to/installed"; then
		return
	fi
	if [ "$(node -p 'process.versions.node.split(".")[0]')" -lt 20 ]; then
		echo "The tests need Node.js 20 or later for Azurite; this is $(node --version)." >&2
		exit 1
	fi
	echo "Installing Azurite for the tests"
	mkdir -p "$to"
	rm -f "$to/installed"
	cp tools/azurite/package.json tools/azurite/package-lock.json "$to"
	npm ci --prefix "$to" --ignore-scripts --no-audit --no-fund --loglevel=error
	cp tools/azurite/package-lock.json "$to/installed"
}

missing=()
{ [ -n "$(bin_of initdb)" ] && [ -n "$(bin_of postgres)" ] && [ -n "$(bin_of psql)" ]; } || missing+=(postgresql)
command -v setpriv >/dev/null || missing+=(util-linux)
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
[ ${#missing[@]} -eq 0 ] || packages "${missing[@]}"
azurite
