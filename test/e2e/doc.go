// Package e2e tests the platform from outside: real processes, real servers, and gRPC as clients use it.
//
// An installation is either one `lume up` or the four services as processes of their own, with an external NATS
// server, PostgreSQL as control's store and S3 as the staging store. Scenarios run on both. Nothing stands in for a
// system: PostgreSQL, S3, Azurite and NATS are started by the tests.
package e2e
