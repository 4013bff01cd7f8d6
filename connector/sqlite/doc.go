// Package sqlite is the connector to SQLite database files of this machine, as a source (rows of a query) and as a target.
//
// A file lies inside one of the folders that the operator allows, and no link leads out of them. A load is one
// transaction that holds the file's write lock: the marker first, the rows by statements of many rows, the rejects, and the
// receipt last. A statement that is refused is tried again row by row, so that the refused row is known without a search.
//
// TYPES.md beside this file says which types meet which, and why created tables are STRICT.
package sqlite
