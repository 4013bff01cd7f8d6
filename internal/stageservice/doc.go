// Package stageservice is the chassis that ingest, transform and egress share: a gRPC server with its REST gateway, a
// worker that does the stage's tasks, the staging store, and a private work folder.
//
// A stage gives [New] a function that makes its [Parts] of the [Deps] that the chassis has opened: a handler of tasks,
// and the gRPC services that it can be asked directly. Clients authenticate by API key, which control checks; control
// and other workers by worker token or certificate.
package stageservice
