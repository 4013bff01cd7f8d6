// Package parquetwrite writes the two shapes of Parquet file that ingest makes of text: rows of nullable text columns,
// and rows of 64-bit integers. It is several times as fast as a general writer, because values are copied once, from
// the scanned text to the page, and because row groups are encoded in parallel and only their bytes are put in order.
//
//   - A [Columns] collects the values of one row group; [Columns.Flush] returns it as an encoded [RowGroup].
//   - A [File] appends row groups in the order that it is given and writes the footer.
//
// What a row group's bytes are depends on its values alone, never on which Columns encoded it or when.
//
// Text is PLAIN, or dictionary-encoded while a column has few distinct values; integers are DELTA_BINARY_PACKED. Text
// pages are compressed by zstd at its fastest level. Columns have null counts but no minimum and maximum.
package parquetwrite
