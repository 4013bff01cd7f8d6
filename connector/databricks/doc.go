// Package databricks reads from Databricks SQL by queries and writes Delta tables.
//
// A load goes through Parquet files in a staging place that the warehouse can read: a Unity Catalog volume. Delta has no
// transaction over several tables, so what other targets commit at once is done here in an order that can be repeated: the
// marker says `writing` (with the receipt), then the rejects of the run are replaced, then its rows by one statement that has
// the same effect however often it runs, then the marker says `committed`. The marker's row is fenced: each change of it goes
// through a MERGE that also changes a row which all runs share, and Delta lets only one of two such changes in. Each statement
// that writes rows asks the marker first, by its state and fence, so that it writes nothing once the run is settled or resumed. TYPES.md says what that promises
// and what it does not.
package databricks
