// Package load does the tasks of stage egress.
//
// A task is of one target, and gets the connector of that target alone. A LOAD task takes what the run has staged: mapped parts, the list of dropped rows, and the reject files of all stages.
// It gives a target the rows by ranges of `_row`, so that a target can bisect what it refuses; keeps the account of refused
// rows, with the records that they came from; and balances the receipt with what the target has counted before the target may
// commit. A SETTLE task ends the uncertainty about a load.
//
// Files are fetched when they are needed and kept until the task ends; in memory are one batch of rows, a bit for each row
// that is left out, and a few bytes for each row that is refused.
package load
