// Package grpcserver is the gRPC server of every service: limits, health, reflection and one chain of interceptors.
//
// For each call, in this order: recovery, request id, access log, deadline cap, limit of failed sign-ins by address,
// authentication, access check, rate limit by key, validation, handler. Streams pass the same chain, without the cap.
//
// Access is declared in the protos (option lume.type.v1.access) and denied by default: a server that has a method
// without one does not start. Off loopback TLS is required.
package grpcserver
