// Command bench measures, in one invocation on one machine, the same work done by Lume and by its limits, and prints
// ratios of medians. It is not a test: nothing here passes or fails.
//
// The work is a CSV batch of invoices, 12 columns, about 2 % bad rows, that becomes rows of a PostgreSQL table under
// strict casts, six rules and a unique key. The limits are the plainest fast way to do each part of it: DuckDB's own COPY
// for ingest, a bare rewrite of the staged Parquet for transform, psql's \copy for the load, and for the whole run both
// that \copy alone and the way it is done by hand: \copy into a text table, then SQL that casts, checks and splits.
//
// Part systems loads the valid rows of the first size into every system by its connector, and reads them back, beside the
// same by the system's own bulk tool or the plainest program with its driver. Where an emulator stands for a system, there are
// fewer rows, and the line says so: such a ratio is about the way to the emulator.
//
// Usage: bench [-lume bin/lume] [-rows "1000000 10000000"] [-repeat 3] [-only systems] [-systems "postgres s3"]
package main
