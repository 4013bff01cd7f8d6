// Package parquetfile writes Arrow record batches as a Parquet file, the columns of a row group side by side on all cores.
//
// It stands in the place of pqarrow's own FileWriter, which writes one column after the other and tries a dictionary for each
// of them, even where no value repeats.
package parquetfile
