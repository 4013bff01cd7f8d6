package server

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// sparkToken is the access token that the proxy in front of Spark asks for.
	sparkToken = "lume-test-token"
	// sparkHeap bounds the server's memory.
	sparkHeap = "-Xmx1g"
	// sparkStart is how long the server may take to answer; it takes some 20 s on an idle machine.
	sparkStart = 4 * time.Minute
)

var spark struct {
	sync.Mutex
	server  *Spark
	process *process // Held: the server ends with the pipe in it.
}

// Spark is Apache Spark with Delta Lake, as far as it can stand for a Databricks warehouse.
type Spark struct {
	// URL is that of the warehouse's host, HTTPPath the path of its SQL service.
	URL, HTTPPath string
	// Token lets a client in.
	Token           string
	Catalog, Schema string
	// Staging is a folder that the server reads.
	Staging string
	proxy   *sparkProxy
}

// Sessions returns how many sessions are open that began in a schema.
func (s *Spark) Sessions(schema string) int { return s.proxy.sessions(schema) }

// StartSpark returns the server of this test process. Its schema is shared: tests make tables of their own.
func StartSpark(t testing.TB) *Spark {
	t.Helper()
	spark.Lock()
	defer spark.Unlock()
	if spark.server != nil {
		return spark.server
	}
	home := filepath.Join(root(t), ".tools", "spark")
	if _, err := os.Stat(filepath.Join(home, "installed")); err != nil {
		t.Fatal("Spark is missing; install it: make test-deps")
	}
	java := filepath.Join(os.Getenv("JAVA_HOME"), "bin", "java")
	if _, err := os.Stat(java); err != nil {
		java = "java"
	}
	dir, err := os.MkdirTemp("", "lume-spark-")
	if err != nil {
		t.Fatal(err)
	}
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	s := &Spark{HTTPPath: "/sql/1.0/warehouses/spark", Token: sparkToken, Catalog: "spark_catalog", Schema: "default", Staging: "file://" + filepath.Join(dir, "staging")}
	if err = os.Mkdir(filepath.Join(dir, "staging"), 0o700); err != nil {
		t.Fatal(err)
	}
	p, err := launch(dir, false, "KILL", nil, nil, append([]string{java}, sparkArgs(home, dir, port)...)...)
	if err != nil {
		t.Fatal(err)
	}
	if err = p.awaitFor(sparkStart, "Spark", func() error { return answers(port) }); err != nil {
		p.stop()
		t.Fatal(err)
	}
	s.proxy, err = newSparkProxy(fmt.Sprintf("http://127.0.0.1:%d/cliservice", port), s.HTTPPath)
	if err != nil {
		p.stop()
		t.Fatal(err)
	}
	s.URL = s.proxy.url
	spark.server, spark.process = s, p
	return s
}

// sparkArgs start the Thrift server in one process with one core. Java keeps these packages closed, and Spark opens them.
func sparkArgs(home, dir string, port int) []string {
	args := []string{sparkHeap, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xss4m", "-Djava.io.tmpdir=" + dir, "-Dderby.system.home=" + dir,
		"-Djdk.reflect.useDirectMethodHandle=false", "-Dio.netty.tryReflectionSetAccessible=true", "--add-modules=jdk.incubator.vector"}
	for _, name := range strings.Fields("java.lang java.lang.invoke java.lang.reflect java.io java.net java.nio java.util java.util.concurrent " +
		"java.util.concurrent.atomic jdk.internal.ref sun.nio.ch sun.nio.cs sun.security.action sun.util.calendar") {
		args = append(args, "--add-opens=java.base/"+name+"=ALL-UNNAMED")
	}
	args = append(args, "-cp", filepath.Join(home, "pyspark", "jars", "*")+":"+filepath.Join(home, "delta", "*"),
		"org.apache.spark.deploy.SparkSubmit", "--master", "local[1]", "--class", "org.apache.spark.sql.hive.thriftserver.HiveThriftServer2")
	for _, conf := range []string{
		"spark.driver.host=127.0.0.1", "spark.driver.bindAddress=127.0.0.1", "spark.ui.enabled=false",
		"spark.sql.extensions=io.delta.sql.DeltaSparkSessionExtension",
		"spark.sql.catalog.spark_catalog=org.apache.spark.sql.delta.catalog.DeltaCatalog",
		"spark.sql.warehouse.dir=" + filepath.Join(dir, "warehouse"),
		"spark.hadoop.javax.jdo.option.ConnectionURL=jdbc:derby:memory:lume;create=true",
		// What a warehouse has by default.
		"spark.sql.ansi.enabled=true", "spark.sql.session.timeZone=UTC",
		// One core, small tables and short statements: compiling code for them takes longer than they do.
		"spark.sql.codegen.wholeStage=false", "spark.sql.codegen.factoryMode=NO_CODEGEN", "spark.sql.adaptive.enabled=false",
		"spark.databricks.delta.merge.materializeSource=none", "spark.databricks.delta.properties.defaults.checkpointInterval=1000", "spark.log.level=ERROR",
		"spark.sql.shuffle.partitions=1", "spark.default.parallelism=1", "spark.databricks.delta.snapshotPartitions=1",
		"spark.sql.sources.parallelPartitionDiscovery.parallelism=1",
	} {
		args = append(args, "--conf", conf)
	}
	return append(args, "spark-internal",
		"--hiveconf", "hive.server2.transport.mode=http", "--hiveconf", "hive.server2.thrift.http.port="+strconv.Itoa(port),
		"--hiveconf", "hive.server2.thrift.bind.host=127.0.0.1", "--hiveconf", "hive.server2.thrift.http.path=cliservice")
}
