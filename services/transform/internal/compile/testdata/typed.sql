-- make room for what is not mapped
CREATE TABLE aside (_row BIGINT, "id" BIGINT, "price" DECIMAL(9,3), "at" VARCHAR, "blob" BLOB);

-- map and write the rows that pass
COPY (SELECT _row,
    hash(_row, "m_id", "m_price", "m_at", "m_text", "m_blob") AS "_lume_hash",
    "m_id" AS "id",
    "m_price" AS "price",
    "m_at" AS "at",
    "m_text" AS "text",
    "m_blob" AS "blob"
  FROM (SELECT _row,
    "k_id",
    "k_price",
    "k_at",
    "k_blob",
    "x_id",
    TRY_CAST("x_id" AS INTEGER) AS "m_id",
    "x_price",
    TRY_CAST("x_price" AS DECIMAL(9,2)) AS "m_price",
    "x_at",
    CASE WHEN TRY(CASE WHEN timezone('UTC', timezone('UTC', CAST("x_at" AS TIMESTAMP))) = CAST("x_at" AS TIMESTAMP) THEN timezone('UTC', CAST("x_at" AS TIMESTAMP)) END) BETWEEN TIMESTAMPTZ '0001-01-01 00:00:00+00' AND TIMESTAMPTZ '9999-12-31 23:59:59.999999+00' THEN TRY(CASE WHEN timezone('UTC', timezone('UTC', CAST("x_at" AS TIMESTAMP))) = CAST("x_at" AS TIMESTAMP) THEN timezone('UTC', CAST("x_at" AS TIMESTAMP)) END) END AS "m_at",
    "x_text",
    CAST("x_text" AS VARCHAR) AS "m_text",
    "x_blob",
    "x_blob" AS "m_blob"
  FROM (SELECT s.file_row_number AS _row,
    s."id" AS "k_id",
    s."price" AS "k_price",
    s."at" AS "k_at",
    s."blob" AS "k_blob",
    s."id" AS "x_id",
    s."price" AS "x_price",
    s."at" AS "x_at",
    s."price" AS "x_text",
    s."blob" AS "x_blob"
  FROM read_parquet('part.parquet', file_row_number=true) AS s("id", "price", "at", "blob")))
  WHERE CASE WHEN ("m_id" IS NOT NULL OR "x_id" IS NULL)
    AND ("m_price" IS NOT NULL OR "x_price" IS NULL)
    AND ("m_at" IS NOT NULL OR "x_at" IS NULL)
    AND ("m_text" IS NOT NULL OR "x_text" IS NULL)
    THEN true ELSE set_aside('aside', _row, "k_id", "k_price", CAST("k_at" AS VARCHAR), "k_blob") END)
TO 'mapped.parquet' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1);

-- count and digest the mapped rows
SELECT (SELECT count(*) FROM read_parquet('mapped.parquet')),
  (SELECT coalesce(sum("_lume_hash"::HUGEINT), 0)::VARCHAR FROM read_parquet('mapped.parquet'));

-- look at what is rejected
CREATE TEMP VIEW rejected AS
SELECT _row, "id", "price", CAST("at" AS TIMESTAMP) AS "at", "blob" FROM aside;

-- build the reasons of rejects
CREATE TEMP TABLE reasons AS
SELECT _row, list_filter([
    CASE WHEN "x_id" IS NOT NULL AND "m_id" IS NULL THEN struct_pack("column" := 'id', "rule" := '', "type" := 'type', "message" := 'is out of the range of int32', "value" := left(CAST("x_id" AS VARCHAR), 1000)) END,
    CASE WHEN "x_price" IS NOT NULL AND "m_price" IS NULL THEN struct_pack("column" := 'price', "rule" := '', "type" := 'type', "message" := 'is out of the range of decimal(9,2)', "value" := left(CAST("x_price" AS VARCHAR), 1000)) END,
    CASE WHEN "x_at" IS NOT NULL AND "m_at" IS NULL THEN struct_pack("column" := 'at', "rule" := '', "type" := 'type', "message" := 'is out of the range of timestamptz', "value" := left(CAST("x_at" AS VARCHAR), 1000)) END,
    CASE WHEN "x_text" IS NOT NULL AND "m_text" IS NULL THEN struct_pack("column" := 'text', "rule" := '', "type" := 'type', "message" := 'is out of the range of string', "value" := left(CAST("x_text" AS VARCHAR), 1000)) END], lambda e: e IS NOT NULL) AS errors
  FROM (SELECT _row,
    "x_id",
    TRY_CAST("x_id" AS INTEGER) AS "m_id",
    "x_price",
    TRY_CAST("x_price" AS DECIMAL(9,2)) AS "m_price",
    "x_at",
    CASE WHEN TRY(CASE WHEN timezone('UTC', timezone('UTC', CAST("x_at" AS TIMESTAMP))) = CAST("x_at" AS TIMESTAMP) THEN timezone('UTC', CAST("x_at" AS TIMESTAMP)) END) BETWEEN TIMESTAMPTZ '0001-01-01 00:00:00+00' AND TIMESTAMPTZ '9999-12-31 23:59:59.999999+00' THEN TRY(CASE WHEN timezone('UTC', timezone('UTC', CAST("x_at" AS TIMESTAMP))) = CAST("x_at" AS TIMESTAMP) THEN timezone('UTC', CAST("x_at" AS TIMESTAMP)) END) END AS "m_at",
    "x_text",
    CAST("x_text" AS VARCHAR) AS "m_text",
    "x_blob",
    "x_blob" AS "m_blob"
  FROM (SELECT s._row AS _row,
    s."id" AS "x_id",
    s."price" AS "x_price",
    s."at" AS "x_at",
    s."price" AS "x_text",
    s."blob" AS "x_blob"
  FROM rejected AS s));

-- write the rejects
COPY (SELECT r._row, 'the batch' AS file, l.line AS line, l.byte AS byte, 'transform' AS stage, CAST(to_json(r.errors) AS VARCHAR) AS errors, CAST(json_object('id', s."id", 'price', CAST(s."price" AS VARCHAR), 'at', CAST(s."at" AS VARCHAR), 'blob', to_base64(s."blob")) AS VARCHAR) AS record, NULL::BLOB AS raw
FROM read_parquet('locations.parquet', file_row_number=true) AS l
  RIGHT JOIN (rejected AS s JOIN reasons AS r ON r._row = s._row) ON r._row - 0 = l.file_row_number
ORDER BY r._row)
TO 'rejects.parquet' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1);

-- count the records
SELECT (SELECT count(*) FROM read_parquet('part.parquet', file_row_number=true) AS s("id", "price", "at", "blob")),
  0,
  (SELECT count(*) FROM reasons),
  (SELECT count(*) FROM read_parquet('mapped.parquet')),
  (SELECT count(*) FROM reasons WHERE len(errors) = 0);

