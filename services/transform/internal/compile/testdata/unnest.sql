-- map the rows that pass
COPY (SELECT _row,
    "_record",
    hash(_row, "m_order_id", "m_sku", "m_qty") AS "_lume_hash",
    "m_order_id" AS "order_id",
    "m_sku" AS "sku",
    "m_qty" AS "qty"
  FROM (SELECT _row,
    "_record",
    "x_order_id",
    "x_order_id" AS "m_order_id",
    "x_sku",
    "x_sku" AS "m_sku",
    "x_qty",
    CASE WHEN "c_qty"::VARCHAR = "x_qty" THEN "c_qty" WHEN regexp_full_match("x_qty", '[+-]?[0-9]+') THEN "c_qty" END AS "m_qty"
  FROM (SELECT _row,
    "_record",
    "x_order_id",
    "x_sku",
    "x_qty",
    TRY_CAST("x_qty" AS INTEGER) AS "c_qty"
  FROM (SELECT s.file_row_number AS _row,
    s."_record" AS "_record",
    s."order.id" AS "x_order_id",
    s."line.sku" AS "x_sku",
    s."line.qty" AS "x_qty"
  FROM read_parquet('part.parquet', file_row_number=true) AS s("line.qty", "line.sku", "order.id", "_raw", "_record")
  WHERE ((s."line.sku" IS NOT NULL) IS TRUE))))
  WHERE "m_order_id" IS NOT NULL
    AND "m_sku" IS NOT NULL
    AND ("m_qty" IS NOT NULL OR "x_qty" IS NULL))
TO 'valid.parquet' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1);

-- find the rest
CREATE TEMP TABLE rest AS
SELECT r.* FROM (SELECT s.file_row_number AS _row, s."_record" AS "_record", (((s."line.sku" IS NOT NULL) IS TRUE) IS NOT DISTINCT FROM false) AS _filtered
  FROM read_parquet('part.parquet', file_row_number=true) AS s("line.qty", "line.sku", "order.id", "_raw", "_record")) AS r
  ANTI JOIN read_parquet('valid.parquet') AS m ON r._row = m._row;

-- find records with a rejected row
CREATE TEMP TABLE bad AS SELECT DISTINCT _record FROM rest WHERE NOT _filtered;

-- write the rows of records that pass
COPY (SELECT * EXCLUDE (_record) FROM read_parquet('valid.parquet') AS m ANTI JOIN bad USING (_record)
ORDER BY _row)
TO 'mapped.parquet' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1);

-- write the keys of batch rules
COPY (SELECT m._row, v._record, m."order_id" AS k0, m."sku" AS k1, m."_lume_hash" AS h FROM read_parquet('mapped.parquet') AS m JOIN (SELECT _row, _record FROM read_parquet('valid.parquet')) AS v ON m._row = v._row)
TO 'keys.parquet' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1);

-- count and digest the mapped rows
SELECT (SELECT count(*) FROM read_parquet('mapped.parquet')),
  (SELECT coalesce(sum("_lume_hash"::HUGEINT), 0)::VARCHAR FROM read_parquet('mapped.parquet'));

-- keep what is rejected
CREATE TEMP TABLE rejected AS
SELECT s.* FROM (SELECT s.file_row_number AS _row, s."_record", s."line.qty", s."line.sku", s."order.id", s."_raw" FROM read_parquet('part.parquet', file_row_number=true) AS s("line.qty", "line.sku", "order.id", "_raw", "_record")) AS s
  SEMI JOIN (SELECT _row FROM rest WHERE NOT _filtered) AS r ON s._row = r._row;

-- build the reasons of rejects
CREATE TEMP TABLE reasons AS
SELECT min(_row) AS _row, _record, flatten(list(errors ORDER BY _row)) AS errors, first(fatal ORDER BY _row) FILTER (WHERE fatal IS NOT NULL) AS fatal FROM (SELECT _row, "_record", list_filter([
    CASE WHEN "x_order_id" IS NULL THEN struct_pack("column" := 'order_id', "rule" := '', "type" := 'required', "message" := 'is required', "value" := CAST(NULL AS VARCHAR)) END,
    CASE WHEN "x_sku" IS NULL THEN struct_pack("column" := 'sku', "rule" := '', "type" := 'required', "message" := 'is required', "value" := CAST(NULL AS VARCHAR)) END,
    CASE WHEN "x_qty" IS NOT NULL AND "m_qty" IS NULL THEN struct_pack("column" := 'qty', "rule" := '', "type" := 'type', "message" := 'is not an int32', "value" := left(CAST("x_qty" AS VARCHAR), 1000)) END], lambda e: e IS NOT NULL) AS errors, list_filter([
    CASE WHEN "x_qty" IS NOT NULL AND "m_qty" IS NULL THEN struct_pack("column" := 'qty', "rule" := '', "type" := 'type', "message" := 'is not an int32', "value" := left(CAST("x_qty" AS VARCHAR), 1000)) END], lambda e: e IS NOT NULL)[1] AS fatal
  FROM (SELECT _row,
    "_record",
    "x_order_id",
    "x_order_id" AS "m_order_id",
    "x_sku",
    "x_sku" AS "m_sku",
    "x_qty",
    CASE WHEN "c_qty"::VARCHAR = "x_qty" THEN "c_qty" WHEN regexp_full_match("x_qty", '[+-]?[0-9]+') THEN "c_qty" END AS "m_qty"
  FROM (SELECT _row,
    "_record",
    "x_order_id",
    "x_sku",
    "x_qty",
    TRY_CAST("x_qty" AS INTEGER) AS "c_qty"
  FROM (SELECT s._row AS _row,
    s."_record" AS "_record",
    s."order.id" AS "x_order_id",
    s."line.sku" AS "x_sku",
    s."line.qty" AS "x_qty"
  FROM rejected AS s)))) GROUP BY _record;

-- find the first row that fails the run
SELECT r._row, l.line, l.byte, fatal."column", fatal."rule", fatal."type", fatal."message" FROM read_parquet('locations.parquet', file_row_number=true) AS l
  RIGHT JOIN reasons AS r ON r._row - 0 = l.file_row_number
WHERE fatal IS NOT NULL ORDER BY r._row LIMIT 1;

-- write the rejects
COPY (SELECT r._row, 'the batch' AS file, l.line AS line, l.byte AS byte, 'transform' AS stage, CAST(to_json(r.errors) AS VARCHAR) AS errors, s."_raw" AS record, NULL::BLOB AS raw
FROM read_parquet('locations.parquet', file_row_number=true) AS l
  RIGHT JOIN (rejected AS s JOIN reasons AS r ON r._row = s._row) ON r._row - 0 = l.file_row_number
ORDER BY r._row)
TO 'rejects.parquet' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1);

-- count the records
SELECT (SELECT count(DISTINCT s."_record") FROM read_parquet('part.parquet', file_row_number=true) AS s("line.qty", "line.sku", "order.id", "_raw", "_record")),
  (SELECT count(DISTINCT r._record) FROM rest AS r ANTI JOIN bad USING (_record) ANTI JOIN read_parquet('valid.parquet') AS v ON r._record = v._record WHERE r._filtered),
  (SELECT count(*) FROM reasons),
  (SELECT count(DISTINCT v._record) FROM read_parquet('valid.parquet') AS v ANTI JOIN bad USING (_record)),
  (SELECT count(*) FROM reasons WHERE len(errors) = 0);

-- read the keys
CREATE TEMP VIEW keys AS SELECT * FROM read_parquet(['keys-00000.parquet']);

-- find rows that hash alike in order_id, sku
CREATE TEMP TABLE alike_0 AS
SELECT k.* FROM keys AS k
  SEMI JOIN (SELECT hash(k0, k1) AS alike FROM keys WHERE k0 IS NOT NULL AND k1 IS NOT NULL GROUP BY alike HAVING count(*) > 1) AS a ON hash(k0, k1) = a.alike
  WHERE k0 IS NOT NULL AND k1 IS NOT NULL;

-- drop rows with the key of another
CREATE TEMP TABLE dedup AS
SELECT k._row FROM alike_0 AS k
  JOIN (SELECT k0, k1, max(_row) AS keep FROM alike_0 GROUP BY k0, k1 HAVING count(*) > 1) AS d ON k.k0 = d.k0 AND k.k1 = d.k1
  WHERE k._row <> d.keep;

-- look at the others
CREATE TEMP VIEW live AS SELECT * FROM keys ANTI JOIN dedup USING (_row);

-- collect what is rejected
CREATE TEMP TABLE hits AS
SELECT 0::BIGINT AS _row, 0::BIGINT AS _record, 0 AS rule, 0::BIGINT AS keep, '' AS value WHERE false;

-- list the rows to leave out
CREATE TEMP TABLE drops AS
SELECT _row FROM keys SEMI JOIN hits USING (_record) UNION SELECT _row FROM dedup;

-- write the list
COPY (SELECT _row FROM drops ORDER BY _row)
TO 'drops.parquet' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1);

-- keep the hits
COPY (SELECT * FROM hits ORDER BY _row, rule)
TO 'hits.parquet' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1);

-- count the rows that unique rules warn of
SELECT 1;

-- count hits by part
SELECT p.part, count(*) FROM (SELECT DISTINCT _row FROM hits) AS h JOIN (VALUES (0, 0, 1000)) AS p(part, first, past) ON h._row >= p.first AND h._row < p.past GROUP BY p.part ORDER BY p.part;

-- count the records
SELECT (SELECT count(DISTINCT _record) FROM hits),
  (SELECT count(*) FROM (SELECT k._record FROM keys AS k LEFT JOIN dedup AS d ON k._row = d._row GROUP BY k._record HAVING count(*) = count(d._row)) AS r ANTI JOIN hits USING (_record)),
  (SELECT count(*) FROM drops),
  (SELECT coalesce(sum(k.h::HUGEINT), 0)::VARCHAR FROM keys AS k SEMI JOIN drops USING (_row));

-- write the rejects of a part
COPY (SELECT r._row, 'the batch' AS file, l.line AS line, l.byte AS byte, 'transform' AS stage, CAST(to_json(r.errors) AS VARCHAR) AS errors, s."_raw" AS record, NULL::BLOB AS raw
FROM read_parquet('locations.parquet', file_row_number=true) AS l
  RIGHT JOIN ((SELECT s.file_row_number AS _row, s."_raw" FROM read_parquet('part.parquet', file_row_number=true) AS s("line.qty", "line.sku", "order.id", "_raw", "_record")) AS s
  JOIN (SELECT min(_row) AS _row, list(struct_pack("column" := CASE rule WHEN 0 THEN '' END, "rule" := CASE rule WHEN 0 THEN '' END, "type" := 'unique', "message" := CASE rule WHEN 0 THEN 'another row of the batch has the same key' END || '; row ' || keep || ' stays', "value" := value) ORDER BY _row, rule) AS errors FROM read_parquet('hits.parquet') WHERE _row >= 0 AND _row < 1000 GROUP BY _record) AS r ON s._row = r._row) ON r._row - 0 = l.file_row_number
ORDER BY r._row)
TO 'rejects-00000.parquet' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1);

