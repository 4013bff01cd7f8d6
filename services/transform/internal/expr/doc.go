// Package expr reads the scalar SQL expressions of flows and writes them back as SQL that is safe to run.
//
// The engine's own parser reads the text (in a child process, many expressions in one job) and answers with a syntax tree
// as JSON. Of that only node classes, keys, types and functions that are listed here pass into a [Node]; anything else is
// a [Problem] with its place. Names are then resolved against a [Scope], the engine tells the type of every node, and
// [Renderer] writes SQL from the validated tree alone: a user's text never reaches a statement.
//
// Three things differ from the engine's dialect, so that no value is mangled in silence. Text that is cast to another
// type must be that type's text in full (`CAST('1e5' AS INTEGER)` fails the row). Dividing by zero fails the row. And
// text is never compared with another type without a cast. Functions that are not deterministic do not pass at all.
package expr
