// Package receipt keeps the account of a run: it adds up what the tasks of a run committed, and refuses an account that
// does not balance.
//
// Two equations hold before a target commits, and again before control believes a manifest:
//
//	records read  = malformed + filtered + rejected + deduplicated + mapped
//	rows to write = written + refused                                        (per target)
//
// A receipt is of one target, in whose marker it stands, or of the whole run: Merge puts those of the targets together.
//
// The left sides are counted by other hands than the right sides: records by the scanner of ingest, rows by the staged
// files, written by the target. So a lost row shows as an [*Imbalance], never as a green run.
package receipt
