package engine

import (
	"errors"
	"strings"
)

// Reasons of an [Error]. They are stable.
const (
	// ReasonOutOfMemory is a job that needs more memory than it may have.
	ReasonOutOfMemory = "ENGINE_OUT_OF_MEMORY"
	// ReasonTimeout is a job that was killed at its deadline.
	ReasonTimeout = "ENGINE_TIMEOUT"
	// ReasonCrashed is a child that died on its own.
	ReasonCrashed = "ENGINE_CRASHED"
	// ReasonDiskQuota is a job that needs more temporary disk space than it may have.
	ReasonDiskQuota = "ENGINE_DISK_QUOTA"
	// ReasonSQL is a statement that the engine refuses: a fault of the code that wrote it.
	ReasonSQL = "ENGINE_SQL"
)

// Canonical gRPC codes; see google.rpc.Code.
const (
	codeDeadlineExceeded  = 4
	codeResourceExhausted = 8
	codeInternal          = 13
	codeUnavailable       = 14
)

// Error is a failed job. Its text is safe for clients; what the library said is in Detail, for the log only.
type Error struct {
	// Reason is one of the Reason constants.
	Reason string
	// Step is the name of the step that failed; empty if the job failed outside of one.
	Step string
	// Detail is the library's or the process's own text. It can quote data.
	Detail string
}

// Error implements error without Detail.
func (e *Error) Error() string {
	if e.Step == "" {
		return e.Reason + ": " + outcomes[e.Reason].message
	}
	return e.Reason + ": " + outcomes[e.Reason].message + " (step " + e.Step + ")"
}

// Unwrap returns Detail as an error, so that a log of the chain shows it.
func (e *Error) Unwrap() error {
	if e.Detail == "" {
		return nil
	}
	return errors.New(e.Detail)
}

// Retryable reports whether the same job can succeed on another attempt.
func (e *Error) Retryable() bool {
	code := outcomes[e.Reason].code
	return code == codeUnavailable || code == codeDeadlineExceeded
}

// Fault describes the error for a status; code is the number of the canonical gRPC code.
func (e *Error) Fault() (code uint32, reason, message, next, column string, meta map[string]string) {
	o := outcomes[e.Reason]
	if e.Step != "" {
		meta = map[string]string{"step": e.Step}
	}
	return o.code, e.Reason, o.message, o.next, "", meta
}

var outcomes = map[string]struct {
	code          uint32
	message, next string
}{
	ReasonOutOfMemory: {codeResourceExhausted, "the engine ran out of the memory that one task may use",
		"lower limits.part_bytes of the flow or raise the transform service's memory per task"},
	ReasonTimeout: {codeDeadlineExceeded, "the engine did not finish before the task's deadline and was killed",
		"lower limits.part_bytes of the flow or look for an expression that is slow on long values"},
	ReasonCrashed: {codeUnavailable, "the engine's process died during the task", ""},
	ReasonDiskQuota: {codeResourceExhausted, "the engine ran out of the temporary disk space that one task may use",
		"free disk space on the worker or raise the transform service's disk quota"},
	ReasonSQL: {codeInternal, "the engine refused a statement of the compiled flow; the service's log has the cause", ""},
}

// classify maps the library's text to a reason.
func classify(text string) string {
	lower := strings.ToLower(text)
	switch {
	case strings.Contains(lower, "max_temp_directory_size"),
		strings.Contains(lower, "no space left"),
		strings.Contains(lower, "file too large"),
		strings.Contains(lower, "disk quota"),
		strings.Contains(lower, "failed to offload"):
		return ReasonDiskQuota
	case strings.HasPrefix(lower, "out of memory error"),
		strings.Contains(lower, "out of memory"),
		strings.Contains(lower, "cannot allocate memory"),
		strings.Contains(lower, "failed to allocate"),
		strings.Contains(lower, "bad_alloc"),
		strings.Contains(lower, "bad allocation"),
		strings.Contains(lower, "allocation failure"),
		strings.Contains(lower, "resource temporarily unavailable"),
		strings.Contains(lower, "out-of-memory"):
		return ReasonOutOfMemory
	default:
		return ReasonSQL
	}
}
