// Package server starts the real servers that tests need: PostgreSQL, MariaDB, an S3 gateway and NATS.
//
// PostgreSQL, MariaDB and S3 are started once per test process and shared; each call makes a database or bucket of its own. NATS
// is started per call, and can be stopped, killed and started again on its port. Everything listens on 127.0.0.1 and on
// a free port, and ends with the test process, however that ends. A binary that is missing fails the test with the
// command that installs it.
package server
