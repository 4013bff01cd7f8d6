// Package snowflake is the connector to Snowflake, as a source (rows of a query, in Arrow batches) and as a target.
//
// A load first brings its rows to where the database can see them, without touching a table that others see: Parquet
// files with names of their content are PUT to the user's stage and copied into a temporary table of the session. One
// transaction then takes the fence row, inserts the marker, moves the rows from the temporary table into the target,
// copies the rejects, and fills in the receipt. Keys are not enforced by Snowflake, so that it is the fence row that
// makes two loads of one run wait for each other.
//
// Snowflake has no savepoints, but each statement is one: a statement that fails leaves its transaction as it was. Rows
// that the target refuses are found by bisecting the statement that moves them.
//
// TYPES.md beside this file says which types meet which, and what was tested against what.
package snowflake
