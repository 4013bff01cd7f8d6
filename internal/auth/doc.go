// Package auth says who calls: a client by API key, or a worker (a stage service or control) by worker token or
// client certificate. Who may call what is declared in the protos (option lume.type.v1.access) and enforced by
// package grpcserver.
package auth
