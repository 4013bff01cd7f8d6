// Package sqlserver is the connector to SQL Server 2016 and later and Azure SQL, as a source (rows of a query) and as a
// target.
//
// A load is one transaction: the marker first, the rows by bulk copy, the rejects, and the receipt last. Append copies
// straight into the table. If the server refuses a row, or the mode is upsert or replace, the rows are staged in a
// temporary table without constraints, and moved from there by statements under savepoints, so that refused rows can be
// found (see package sqlload). Rows that no column could take, such as NaN, are refused by the encoder and never sent.
//
// TYPES.md beside this file says which types meet which, and why errors are handled as they are.
package sqlserver
