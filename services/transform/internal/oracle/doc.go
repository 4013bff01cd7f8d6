// Package oracle says, in plain Go and without the engine, what a flow makes of a batch: which rows are mapped to what,
// and which are rejected for which reasons. It shares no code with the compiler. Property tests generate random flows and
// random dirty batches with it and hold the engine to its answers, row for row and reason for reason.
//
// It knows the semantics of DESIGN.md section 4 for text sources: filter, map, rules, unique. Values are compared as
// canonical text.
package oracle
