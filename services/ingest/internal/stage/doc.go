// Package stage turns one batch of a source into what transform reads: Parquet parts, the rejects of the records that
// are malformed, the references, and a manifest that accounts for every record.
//
// Text (CSV, JSON) goes through a pipeline: one goroutine fetches and digests the object, one decompresses, decodes and
// cuts it into chunks of whole records, workers make encoded row groups of the chunks, and one goroutine puts those in
// order into parts. Rows that come typed (Parquet, databases) are cut into parts as they come. Where parts end and what
// is in them follows from the source and the flow alone; memory and parallelism change how fast it goes.
//
// Every error is coded. What a record does wrong is a reject; what the source as a whole does wrong (it breaks off, a
// checksum is wrong, its header cannot name columns) fails the stage, and nothing of it is used.
package stage
