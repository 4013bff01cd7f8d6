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

missing=()
{ [ -n "$(bin_of initdb)" ] && [ -n "$(bin_of postgres)" ] && [ -n "$(bin_of psql)" ]; } || missing+=(postgresql)
command -v setpriv >/dev/null || missing+=(util-linux)
{ PATH=$PATH:/usr/sbin command -v mariadbd && command -v mariadb-install-db && command -v mariadb; } >/dev/null || missing+=(mariadb-server)
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
command -v java >/dev/null || missing+=(openjdk-17-jre-headless)
command -v mvn >/dev/null || missing+=(maven)
python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
[ ${#missing[@]} -eq 0 ] || packages "${missing[@]}"
for install in tools/*/install.sh; do
	"$install"
done
