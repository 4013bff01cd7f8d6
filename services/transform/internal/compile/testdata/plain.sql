-- make room for what is not mapped
CREATE TABLE aside (_row BIGINT, "id" VARCHAR, "qty" VARCHAR);

-- map and write the rows that pass
COPY (SELECT _row,
    hash(_row, "m_id", "m_n") AS "_lume_hash",
    "m_id" AS "id",
    "m_n" AS "n"
  FROM (SELECT _row,
    "k_id",
    "k_qty",
    "x_id",
    "x_id" AS "m_id",
    "x_n",
    CASE WHEN "c_n"::VARCHAR = "x_n" THEN "c_n" WHEN regexp_full_match("x_n", '[+-]?[0-9]+') THEN "c_n" END AS "m_n"
  FROM (SELECT _row,
    "k_id",
    "k_qty",
    "x_id",
    "x_n",
    TRY_CAST("x_n" AS INTEGER) AS "c_n"
  FROM (SELECT s.file_row_number AS _row,
    s."id" AS "k_id",
    s."qty" AS "k_qty",
    s."id" AS "x_id",
    s."qty" AS "x_n"
  FROM read_parquet('part.parquet', file_row_number=true) AS s("id", "qty"))))
  WHERE CASE WHEN ("m_n" IS NOT NULL OR "x_n" IS NULL)
    THEN true ELSE set_aside('aside', _row, CAST("k_id" AS VARCHAR), CAST("k_qty" AS VARCHAR)) END)
TO 'mapped.parquet' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1);

-- count and digest the mapped rows
SELECT (SELECT count(*) FROM read_parquet('mapped.parquet')),
  (SELECT coalesce(sum("_lume_hash"::HUGEINT), 0)::VARCHAR FROM read_parquet('mapped.parquet'));

-- look at what is rejected
CREATE TEMP VIEW rejected AS
SELECT _row, "id", "qty" FROM aside;

-- build the reasons of rejects
CREATE TEMP TABLE reasons AS
SELECT _row, list_filter([
    CASE WHEN "x_n" IS NOT NULL AND "m_n" IS NULL THEN struct_pack("column" := 'n', "rule" := '', "type" := 'type', "message" := 'is not an int32', "value" := left(CAST("x_n" AS VARCHAR), 1000)) END], lambda e: e IS NOT NULL) AS errors
  FROM (SELECT _row,
    "x_id",
    "x_id" AS "m_id",
    "x_n",
    CASE WHEN "c_n"::VARCHAR = "x_n" THEN "c_n" WHEN regexp_full_match("x_n", '[+-]?[0-9]+') THEN "c_n" END AS "m_n"
  FROM (SELECT _row,
    "x_id",
    "x_n",
    TRY_CAST("x_n" AS INTEGER) AS "c_n"
  FROM (SELECT s._row AS _row,
    s."id" AS "x_id",
    s."qty" AS "x_n"
  FROM rejected AS s)));

-- write the rejects
COPY (SELECT r._row, 'the batch' AS file, l.line AS line, l.byte AS byte, 'transform' AS stage, CAST(to_json(r.errors) AS VARCHAR) AS errors, CAST(json_object('id', s."id", 'qty', s."qty") AS VARCHAR) AS record, NULL::BLOB AS raw
FROM read_parquet('locations.parquet', file_row_number=true) AS l
  RIGHT JOIN (rejected AS s JOIN reasons AS r ON r._row = s._row) ON r._row - 0 = l.file_row_number
ORDER BY r._row)
TO 'rejects.parquet' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1);

-- count the records
SELECT (SELECT count(*) FROM read_parquet('part.parquet', file_row_number=true) AS s("id", "qty")),
  0,
  (SELECT count(*) FROM reasons),
  (SELECT count(*) FROM read_parquet('mapped.parquet')),
  (SELECT count(*) FROM reasons WHERE len(errors) = 0);

