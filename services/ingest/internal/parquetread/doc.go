// Package parquetread reads customers' Parquet files into the types of connectors, without trusting them: a codec or
// type that is not supported is refused by the footer, a footer that promises other rows than there are fails the read,
// and what makes the decoder panic is an error like any other.
//
// Types, where they differ: int8 and uint8 are int16, uint16 is int32, uint32 is int64 and uint64 is decimal(20,0).
// Decimals keep precision and scale, up to 38 digits. Times and timestamps become microseconds: nanoseconds that are no
// whole microseconds reject the record, since nothing is rounded. Timestamps that are adjusted to UTC, and INT96, which
// Spark writes in UTC, are timestamptz; others are timestamp (local). INT96 outside of the years 1678 to 2261 fails the read. Text that is not valid UTF-8 rejects the record with type `encoding`.
// UUID columns are uuid; ENUM is string; JSON is json; BSON and plain byte arrays are binary. Structs, lists and maps
// are JSON text (type json): structs as objects in the file's order, maps as arrays of {"key","value"}, binary as base64,
// decimals as numbers. INTERVAL, and decimals of more than 38 digits, are refused.
package parquetread
