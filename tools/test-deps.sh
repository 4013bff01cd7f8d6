#!/usr/bin/env bash
# Installs the Debian packages whose servers the tests start, as root or with sudo. Names them and fails if it cannot. Then
# installs, into .tools, the servers that no package has.
set -euo pipefail
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# bin_of prints where a PostgreSQL program is, on PATH or in Debian's folder of the newest version.
bin_of() {
	command -v "$1" || ls -d /usr/lib/postgresql/*/bin/"$1" 2>/dev/null | sort -V | tail -n 1
}

missing=()
{ [ -n "$(bin_of initdb)" ] && [ -n "$(bin_of postgres)" ] && [ -n "$(bin_of psql)" ]; } || missing+=(postgresql)
command -v setpriv >/dev/null || missing+=(util-linux)
# Spark, which stands for Databricks.
command -v java >/dev/null || missing+=(openjdk-17-jre-headless)
command -v mvn >/dev/null || missing+=(maven)
python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
if [ ${#missing[@]} -eq 0 ]; then
	exec "$tools/spark/install.sh"
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
	if ! command -v sudo >/dev/null || ! sudo -n true 2>/dev/null; then
		echo "The tests need these packages: ${missing[*]}" >&2
		echo "Install them as root: apt-get install -y --no-install-recommends ${missing[*]}" >&2
		exit 1
	fi
	as_root=(sudo)
fi
if ! command -v apt-get >/dev/null; then
	echo "The tests need ${missing[*]} on PATH, and this system has no apt-get to install them with." >&2
	exit 1
fi
echo "Installing ${missing[*]} for the tests"
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -q
"${as_root[@]}" apt-get install -y -q --no-install-recommends "${missing[@]}"
exec "$tools/spark/install.sh"
