// Package rejectfile writes and reads the Parquet file in which each stage keeps the records that it rejected.
//
// Every stage writes the same columns (see [Schema]): where the record stands in its batch, the stage, every reason as a
// JSON array, and the record itself, as JSON text or as raw bytes. Transform writes its files by SQL, the others through
// a [Writer]; a [Reader] reads them all, in order, with memory for one batch of records.
package rejectfile
