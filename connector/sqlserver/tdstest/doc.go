// Package tdstest is a server for tests that speaks TDS 7.4 (and 8.0) to the real driver of SQL Server: pre-login with and
// without TLS, logins with a password, batches, sp_executesql with typed parameters, bulk copy, transaction requests, and
// attention.
//
// It is not SQL Server. It takes the T-SQL that the connector writes, and plain queries of tests, token by token, and
// translates them for an embedded SQLite database; what it does not know is error 40000 and not a guess. So it shows that
// the connector and the driver agree on the protocol, on types as they travel, on transactions and on errors by number.
// That a real server takes the same T-SQL, and its locks, collations and limits, only a real server can show.
//
// How far it goes:
//
//   - One transaction writes at a time in a database; others wait as for a lock, up to LOCK_TIMEOUT (error 1222). Readers
//     see what is committed, and a snapshot transaction one state.
//   - Text compares by code point, and trailing blanks do not count, as with a BIN2 collation.
//   - An error ends its transaction if XACT_ABORT is on. Otherwise a violated constraint ends only its statement.
package tdstest
