// Package server starts the real servers that tests need: PostgreSQL, MariaDB, an S3 gateway, Azurite, fakesnow, Spark and NATS.
//
// All but NATS are started once per test process and shared; each call makes a database, bucket or container of its own. NATS is
// started per call, and can be stopped, killed and started again on its port. Everything listens on 127.0.0.1 and on a
// free port, and ends with the test process, however that ends. A binary that is missing fails the test with the
// command that installs it.
package server
