// Package postgres is the connector to PostgreSQL 12 and later, as a source (rows of a query) and as a target.
//
// A load is one transaction: the marker first, the rows by binary COPY encoded straight from Arrow columns, the rejects,
// and the receipt last. Encoding runs beside sending, so that the server is the only one that waits. Rows that the server
// refuses are found by savepoints (see package sqlload); rows that it could not take at all, such as text with a NUL byte,
// are refused by the encoder and never sent.
//
// TYPES.md beside this file says which types meet which.
package postgres
