#!/usr/bin/env bash
# Installs Spark and Delta Lake into .tools/spark for the tests of the databricks connector: Spark's Java libraries from its
# Python package, Delta's from Maven. Needs python3 with pip, Maven and Java 17. Does nothing if this was done before.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
home=$here/../../.tools/spark
want=$(cat "$here/requirements.txt" "$here/pom.xml" | sha256sum)
[ "$(cat "$home/installed" 2>/dev/null)" != "$want" ] || exit 0

echo "Installing Spark and Delta Lake for the tests"
rm -rf "$home"
mkdir -p "$home/delta"
python3 -m pip install -q --disable-pip-version-check --no-cache-dir --no-deps --no-compile --target "$home" -r "$here/requirements.txt"
mvn -q -B -f "$here/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.6.0:copy-dependencies -DoutputDirectory="$home/delta"
ls "$home/pyspark/jars/"spark-core_*.jar "$home/delta/"delta-spark_*.jar "$home/delta/"delta-storage-*.jar >/dev/null
echo "$want" >"$home/installed"
