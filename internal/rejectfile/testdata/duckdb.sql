-- Wrote duckdb.parquet (DuckDB 1.x); run in this folder to write it again.
COPY (
  SELECT CASE WHEN i % 3 = 0 THEN NULL ELSE i END::BIGINT AS _row,
         CASE WHEN i % 2 = 0 THEN 'batch-001.csv' END AS file,
         CASE WHEN i % 5 = 0 THEN NULL ELSE i + 2 END::BIGINT AS line,
         CASE WHEN i % 5 = 0 THEN NULL ELSE i * 40 END::BIGINT AS byte,
         'transform' AS stage,
         to_json([{'column': 'amount', 'rule': NULL::VARCHAR, 'type': 'type', 'message': 'not a number: ü "x"',
                   'value': CASE WHEN i % 7 <> 0 THEN 'v' || i END}])::VARCHAR AS errors,
         CASE WHEN i % 11 <> 0 THEN to_json({'id': i})::VARCHAR END AS record,
         CASE WHEN i % 11 = 0 THEN '\xFF\x00'::BLOB END AS raw
  FROM range(5000) t(i)
) TO 'duckdb.parquet' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 2048);
