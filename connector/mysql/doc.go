// Package mysql is the connector to MySQL 8.0.19 and MariaDB 10.4 and later, as a source (rows of a query) and as a target.
//
// A load is one InnoDB transaction: the marker first, the rows by LOAD DATA LOCAL encoded straight from Arrow columns, the
// rejects, and the receipt last. LOCAL makes the server skip or change a row that it does not like, with a warning; so a load
// counts warnings and rows, and one that is not clean is undone. Its rows then go into a temporary table with the types of
// the target and none of its constraints, and from there by INSERT … SELECT in strict mode, where a refusal is an error, to be
// found by savepoints (see package sqlload).
//
// Every session holds a named lock that says whose it is. That is how another session finds and ends it, as long as it lives
// and no longer.
//
// TYPES.md beside this file says which types meet which.
package mysql
