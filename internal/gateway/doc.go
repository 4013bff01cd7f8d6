// Package gateway is the REST side of a service: it translates HTTP and JSON to calls of the service's own gRPC server,
// so that every interceptor runs, and serves /healthz, /readyz, /metrics and /openapi.json beside them.
//
// Only listed headers become metadata; identity never does. Bodies are at most 4 MiB and may hold no unknown field.
// Fields have their proto names. An error is one object, lume.type.v1.Error, with the HTTP status of its code. A
// stream is one JSON object per line: {"result": …}, and {"error": …} if it fails.
package gateway
