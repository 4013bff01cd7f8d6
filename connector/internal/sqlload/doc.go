// Package sqlload holds what targets in SQL databases truly share: how a flow names a table, the SQL text of a load and
// of its marker, the account of refused rows, and the bisection that finds them.
//
// A load is one transaction. It inserts the marker of (run, target) into `_lume_runs` first, in state `loading`, so that
// its primary key makes two loads of one run wait for each other; it fills in the receipt last. Whoever finds a committed
// marker has nothing left to do, and whoever finds an aborted one must not commit.
//
// The package executes nothing and knows no driver. A [Dialect] says how a system writes names, parameters and types.
package sqlload
