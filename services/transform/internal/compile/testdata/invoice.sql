-- check keys of reference countries
SELECT CAST(t."code" AS VARCHAR), count(*) FROM read_parquet('reference-0.parquet') AS t("code", "region") WHERE t."code" IS NOT NULL GROUP BY t."code" HAVING count(*) > 1 ORDER BY 1 LIMIT 1;

-- make room for what is not mapped
CREATE TABLE aside (_row BIGINT, "amt" VARCHAR, "country" VARCHAR, "inv_no" VARCHAR, "issued" VARCHAR, "kind" VARCHAR, "part" VARCHAR, "state" VARCHAR, "whole" VARCHAR);
CREATE TABLE filtered (_row BIGINT);

-- map and write the rows that pass
COPY (SELECT _row,
    hash(_row, "m_invoice_id", "m_amount", "m_issued_on", "m_region", "v_status", "v_share", "m_run") AS "_lume_hash",
    "m_invoice_id" AS "invoice_id",
    "m_amount" AS "amount",
    "m_issued_on" AS "issued_on",
    "m_region" AS "region",
    "v_status" AS "status",
    "v_share" AS "share",
    "m_run" AS "run"
  FROM (SELECT _row,
    "h_countries",
    "k_amt",
    "k_country",
    "k_inv_no",
    "k_issued",
    "k_kind",
    "k_part",
    "k_state",
    "k_whole",
    "x_invoice_id",
    "m_invoice_id",
    "x_amount",
    "m_amount",
    "x_issued_on",
    "m_issued_on",
    "x_region",
    "m_region",
    "x_status",
    "m_status",
    CASE WHEN ("m_status" IS NULL OR "m_status" IN ('OPEN', 'PAID', 'VOID')) THEN "m_status" ELSE 'OPEN' END AS "v_status",
    "x_share",
    "f_share",
    "m_share",
    CASE WHEN NOT "f_share" THEN "m_share" ELSE NULL END AS "v_share",
    "x_run",
    "m_run"
  FROM (SELECT _row,
    "h_countries",
    "k_amt",
    "k_country",
    "k_inv_no",
    "k_issued",
    "k_kind",
    "k_part",
    "k_state",
    "k_whole",
    "x_invoice_id",
    "x_invoice_id" AS "m_invoice_id",
    "x_amount",
    CASE WHEN "c_amount"::VARCHAR = "x_amount" THEN "c_amount" WHEN regexp_full_match("x_amount", '[+-]?(?:[0-9]+(?:\.[0-9]{0,2}0*)?|\.[0-9]{1,2}0*)') THEN "c_amount" END AS "m_amount",
    "x_issued_on",
    CASE WHEN "c_issued_on" BETWEEN TIMESTAMP '0001-01-01 00:00:00' AND TIMESTAMP '9999-12-31 23:59:59.999999' AND strlen("x_issued_on") = 10 AND "x_issued_on" >= '0' AND "x_issued_on"[10] >= '0' THEN "c_issued_on"::DATE END AS "m_issued_on",
    "x_region",
    "x_region" AS "m_region",
    "x_status",
    "x_status" AS "m_status",
    "x_share",
    "f_share",
    "x_share" AS "m_share",
    "x_run",
    "x_run" AS "m_run"
  FROM (SELECT _row,
    "h_countries",
    "k_amt",
    "k_country",
    "k_inv_no",
    "k_issued",
    "k_kind",
    "k_part",
    "k_state",
    "k_whole",
    "x_invoice_id",
    "x_amount",
    TRY_CAST("x_amount" AS DECIMAL(12,2)) AS "c_amount",
    "x_issued_on",
    try_strptime("x_issued_on", '%d/%m/%Y') AS "c_issued_on",
    "x_region",
    "x_status",
    "x_share",
    "f_share",
    "x_run"
  FROM (SELECT _row,
    "h_countries",
    "k_amt",
    "k_country",
    "k_inv_no",
    "k_issued",
    "k_kind",
    "k_part",
    "k_state",
    "k_whole",
    "x_invoice_id",
    "x_amount",
    "x_issued_on",
    "x_region",
    "x_status",
    struct_extract("s_share", 'v') AS "x_share",
    ("s_share" IS NULL) AS "f_share",
    "x_run"
  FROM (SELECT s._row AS _row,
    ("r_countries"."#hit" IS TRUE) AS "h_countries",
    s."amt" AS "k_amt",
    s."country" AS "k_country",
    s."inv_no" AS "k_inv_no",
    s."issued" AS "k_issued",
    s."kind" AS "k_kind",
    s."part" AS "k_part",
    s."state" AS "k_state",
    s."whole" AS "k_whole",
    trim(s."inv_no") AS "x_invoice_id",
    replace(s."amt", '$', '') AS "x_amount",
    s."issued" AS "x_issued_on",
    "r_countries"."region" AS "x_region",
    upper(s."state") AS "x_status",
    TRY(struct_pack(v := (CAST(regexp_replace(s."part", '(?s)^(?:([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?)|.*)$', '\1') AS DOUBLE) / CASE WHEN CAST(regexp_replace(s."whole", '(?s)^(?:([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?)|.*)$', '\1') AS DOUBLE) = 0 THEN CAST('division by zero' AS DOUBLE) ELSE CAST(regexp_replace(s."whole", '(?s)^(?:([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?)|.*)$', '\1') AS DOUBLE) END))) AS "s_share",
    'run_ID' AS "x_run"
  FROM (SELECT s.file_row_number AS _row, s.*, upper(s."country") AS "o_countries" FROM read_parquet('part.parquet', file_row_number=true) AS s("amt", "country", "inv_no", "issued", "kind", "part", "state", "whole")) AS s
  LEFT JOIN (SELECT *, true AS "#hit" FROM read_parquet('reference-0.parquet') AS t("code", "region")) AS "r_countries" ON s."o_countries" = "r_countries"."code"
  WHERE CASE WHEN ((s."kind" <> 'test') IS TRUE) THEN true ELSE set_aside('filtered', s._row) END)))))
  WHERE CASE WHEN "h_countries"
    AND "m_invoice_id" IS NOT NULL
    AND ("m_amount" IS NOT NULL OR "x_amount" IS NULL) AND ("m_amount" IS NULL OR "m_amount" >= CAST('0' AS DECIMAL(12,2)))
    AND ("m_issued_on" IS NOT NULL OR "x_issued_on" IS NULL)
    AND ((("m_amount" > 0)) IS DISTINCT FROM false)
    THEN true ELSE set_aside('aside', _row, CAST("k_amt" AS VARCHAR), CAST("k_country" AS VARCHAR), CAST("k_inv_no" AS VARCHAR), CAST("k_issued" AS VARCHAR), CAST("k_kind" AS VARCHAR), CAST("k_part" AS VARCHAR), CAST("k_state" AS VARCHAR), CAST("k_whole" AS VARCHAR)) END
  ORDER BY _row)
TO 'mapped.parquet' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1);

-- write the keys of batch rules
COPY (SELECT m._row, m."invoice_id" AS k0, m."issued_on" AS k1, m."region" AS k2, m."_lume_hash" AS h FROM read_parquet('mapped.parquet') AS m)
TO 'keys.parquet' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1);

-- count and digest the mapped rows
SELECT (SELECT count(*) FROM read_parquet('mapped.parquet')),
  (SELECT coalesce(sum("_lume_hash"::HUGEINT), 0)::VARCHAR FROM read_parquet('mapped.parquet')),
  (SELECT count(*) FROM read_parquet('mapped.parquet') WHERE NOT (TRY((((100 // CASE WHEN length("region") = 0 THEN CAST('division by zero' AS BIGINT) ELSE length("region") END) > 3)) IS DISTINCT FROM false) IS TRUE));

-- look at what is rejected
CREATE TEMP VIEW rejected AS
SELECT _row, "amt", "country", "inv_no", "issued", "kind", "part", "state", "whole" FROM aside;

-- build the reasons of rejects
CREATE TEMP TABLE reasons AS
SELECT _row, list_filter([
    CASE WHEN NOT "h_countries" THEN struct_pack("column" := '', "rule" := 'countries', "type" := 'reference', "message" := 'has no match in reference countries', "value" := CAST(NULL AS VARCHAR)) END,
    CASE WHEN "x_invoice_id" IS NULL THEN struct_pack("column" := 'invoice_id', "rule" := '', "type" := 'required', "message" := 'is required', "value" := CAST(NULL AS VARCHAR)) END,
    CASE WHEN "x_amount" IS NOT NULL AND "m_amount" IS NULL THEN struct_pack("column" := 'amount', "rule" := '', "type" := 'type', "message" := 'is not a decimal(12,2)', "value" := left(CAST("x_amount" AS VARCHAR), 1000)) END,
    CASE WHEN "m_amount" IS NOT NULL AND NOT ("m_amount" >= CAST('0' AS DECIMAL(12,2))) THEN struct_pack("column" := 'amount', "rule" := '', "type" := 'range', "message" := 'is less than 0', "value" := left(CAST("m_amount" AS VARCHAR), 1000)) END,
    CASE WHEN "x_issued_on" IS NOT NULL AND "m_issued_on" IS NULL THEN struct_pack("column" := 'issued_on', "rule" := '', "type" := 'type', "message" := 'is not a date in the format %d/%m/%Y', "value" := left(CAST("x_issued_on" AS VARCHAR), 1000)) END,
    CASE WHEN ("m_amount" IS NOT NULL OR "x_amount" IS NULL) AND ("m_amount" IS NULL OR "m_amount" >= CAST('0' AS DECIMAL(12,2))) AND NOT ((("m_amount" > 0)) IS DISTINCT FROM false) THEN struct_pack("column" := 'amount', "rule" := 'positive', "type" := 'check', "message" := 'amount must be positive', "value" := left(CAST("m_amount" AS VARCHAR), 1000)) END], lambda e: e IS NOT NULL) AS errors
  FROM (SELECT _row,
    "h_countries",
    "x_invoice_id",
    "m_invoice_id",
    "x_amount",
    "m_amount",
    "x_issued_on",
    "m_issued_on",
    "x_region",
    "m_region",
    "x_status",
    "m_status",
    CASE WHEN ("m_status" IS NULL OR "m_status" IN ('OPEN', 'PAID', 'VOID')) THEN "m_status" ELSE 'OPEN' END AS "v_status",
    "x_share",
    "f_share",
    "m_share",
    CASE WHEN NOT "f_share" THEN "m_share" ELSE NULL END AS "v_share",
    "x_run",
    "m_run"
  FROM (SELECT _row,
    "h_countries",
    "x_invoice_id",
    "x_invoice_id" AS "m_invoice_id",
    "x_amount",
    CASE WHEN "c_amount"::VARCHAR = "x_amount" THEN "c_amount" WHEN regexp_full_match("x_amount", '[+-]?(?:[0-9]+(?:\.[0-9]{0,2}0*)?|\.[0-9]{1,2}0*)') THEN "c_amount" END AS "m_amount",
    "x_issued_on",
    CASE WHEN "c_issued_on" BETWEEN TIMESTAMP '0001-01-01 00:00:00' AND TIMESTAMP '9999-12-31 23:59:59.999999' AND strlen("x_issued_on") = 10 AND "x_issued_on" >= '0' AND "x_issued_on"[10] >= '0' THEN "c_issued_on"::DATE END AS "m_issued_on",
    "x_region",
    "x_region" AS "m_region",
    "x_status",
    "x_status" AS "m_status",
    "x_share",
    "f_share",
    "x_share" AS "m_share",
    "x_run",
    "x_run" AS "m_run"
  FROM (SELECT _row,
    "h_countries",
    "x_invoice_id",
    "x_amount",
    TRY_CAST("x_amount" AS DECIMAL(12,2)) AS "c_amount",
    "x_issued_on",
    try_strptime("x_issued_on", '%d/%m/%Y') AS "c_issued_on",
    "x_region",
    "x_status",
    "x_share",
    "f_share",
    "x_run"
  FROM (SELECT _row,
    "h_countries",
    "x_invoice_id",
    "x_amount",
    "x_issued_on",
    "x_region",
    "x_status",
    struct_extract("s_share", 'v') AS "x_share",
    ("s_share" IS NULL) AS "f_share",
    "x_run"
  FROM (SELECT s._row AS _row,
    ("r_countries"."#hit" IS TRUE) AS "h_countries",
    trim(s."inv_no") AS "x_invoice_id",
    replace(s."amt", '$', '') AS "x_amount",
    s."issued" AS "x_issued_on",
    "r_countries"."region" AS "x_region",
    upper(s."state") AS "x_status",
    TRY(struct_pack(v := (CAST(regexp_replace(s."part", '(?s)^(?:([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?)|.*)$', '\1') AS DOUBLE) / CASE WHEN CAST(regexp_replace(s."whole", '(?s)^(?:([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?)|.*)$', '\1') AS DOUBLE) = 0 THEN CAST('division by zero' AS DOUBLE) ELSE CAST(regexp_replace(s."whole", '(?s)^(?:([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?)|.*)$', '\1') AS DOUBLE) END))) AS "s_share",
    'run_ID' AS "x_run"
  FROM (SELECT s.*, upper(s."country") AS "o_countries" FROM rejected AS s) AS s
  LEFT JOIN (SELECT *, true AS "#hit" FROM read_parquet('reference-0.parquet') AS t("code", "region")) AS "r_countries" ON s."o_countries" = "r_countries"."code")))));

-- write the rejects
COPY (SELECT r._row, 'the batch' AS file, l.line AS line, l.byte AS byte, 'transform' AS stage, CAST(to_json(r.errors) AS VARCHAR) AS errors, CAST(json_object('amt', s."amt", 'country', s."country", 'inv_no', s."inv_no", 'issued', s."issued", 'kind', s."kind", 'part', s."part", 'state', s."state", 'whole', s."whole") AS VARCHAR) AS record, NULL::BLOB AS raw
FROM read_parquet('locations.parquet', file_row_number=true) AS l
  RIGHT JOIN (rejected AS s JOIN reasons AS r ON r._row = s._row) ON r._row - 0 = l.file_row_number
ORDER BY r._row)
TO 'rejects.parquet' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1);

-- count the records
SELECT (SELECT count(*) FROM read_parquet('part.parquet', file_row_number=true) AS s("amt", "country", "inv_no", "issued", "kind", "part", "state", "whole")),
  (SELECT count(*) FROM filtered),
  (SELECT count(*) FROM reasons),
  (SELECT count(*) FROM read_parquet('mapped.parquet')),
  (SELECT count(*) FROM reasons WHERE len(errors) = 0);

-- read the keys
CREATE TEMP VIEW keys AS SELECT * FROM read_parquet(['keys-00000.parquet']);

-- drop nothing
CREATE TEMP TABLE dedup (_row BIGINT);

-- find rows that hash alike in invoice_id
CREATE TEMP TABLE alike_0 AS
SELECT k.* FROM keys AS k
  SEMI JOIN (SELECT hash(k0) AS alike FROM keys WHERE k0 IS NOT NULL GROUP BY alike HAVING count(*) > 1) AS a ON hash(k0) = a.alike
  WHERE k0 IS NOT NULL;

-- find rows that are equal in invoice_id
CREATE TEMP TABLE dup_0 AS
SELECT k._row, 0 AS rule, d.keep, left(concat_ws(', ', CAST(k.k0 AS VARCHAR)), 1000) AS value FROM alike_0 AS k
  JOIN (SELECT k0, min(_row) AS keep FROM alike_0 GROUP BY k0 HAVING count(*) > 1) AS d ON k.k0 = d.k0
  WHERE k._row <> d.keep;

-- find rows that hash alike in issued_on, region
CREATE TEMP TABLE alike_1 AS
SELECT k.* FROM keys AS k
  SEMI JOIN (SELECT hash(k1, k2) AS alike FROM keys WHERE k1 IS NOT NULL AND k2 IS NOT NULL GROUP BY alike HAVING count(*) > 1) AS a ON hash(k1, k2) = a.alike
  WHERE k1 IS NOT NULL AND k2 IS NOT NULL;

-- find rows that are equal in issued_on, region
CREATE TEMP TABLE dup_1 AS
SELECT k._row, 1 AS rule, d.keep, left(concat_ws(', ', CAST(k.k1 AS VARCHAR), CAST(k.k2 AS VARCHAR)), 1000) AS value FROM alike_1 AS k
  JOIN (SELECT k1, k2, min(_row) AS keep FROM alike_1 GROUP BY k1, k2 HAVING count(*) > 1) AS d ON k.k1 = d.k1 AND k.k2 = d.k2
  WHERE k._row <> d.keep;

-- collect what is rejected
CREATE TEMP TABLE hits AS
SELECT * FROM dup_0
UNION ALL SELECT * FROM dup_1;

-- list the rows to leave out
CREATE TEMP TABLE drops AS
SELECT _row FROM hits UNION SELECT _row FROM dedup;

-- write the list
COPY (SELECT _row FROM drops ORDER BY _row)
TO 'drops.parquet' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1);

-- keep the hits
COPY (SELECT * FROM hits ORDER BY _row, rule)
TO 'hits.parquet' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1);

-- find the first row that fails the run
SELECT _row, rule FROM hits WHERE rule IN (1) ORDER BY _row, rule LIMIT 1;

-- count the rows that unique rules warn of
SELECT 1;

-- count hits by part
SELECT p.part, count(*) FROM (SELECT DISTINCT _row FROM hits) AS h JOIN (VALUES (0, 0, 1000)) AS p(part, first, past) ON h._row >= p.first AND h._row < p.past GROUP BY p.part ORDER BY p.part;

-- count the records
SELECT (SELECT count(DISTINCT _row) FROM hits),
  (SELECT count(*) FROM dedup ANTI JOIN hits USING (_row)),
  (SELECT count(*) FROM drops),
  (SELECT coalesce(sum(k.h::HUGEINT), 0)::VARCHAR FROM keys AS k SEMI JOIN drops USING (_row));

-- write the rejects of a part
COPY (SELECT r._row, 'the batch' AS file, l.line AS line, l.byte AS byte, 'transform' AS stage, CAST(to_json(r.errors) AS VARCHAR) AS errors, CAST(json_object('amt', s."amt", 'country', s."country", 'inv_no', s."inv_no", 'issued', s."issued", 'kind', s."kind", 'part', s."part", 'state', s."state", 'whole', s."whole") AS VARCHAR) AS record, NULL::BLOB AS raw
FROM read_parquet('locations.parquet', file_row_number=true) AS l
  RIGHT JOIN ((SELECT s.file_row_number AS _row, s."amt", s."country", s."inv_no", s."issued", s."kind", s."part", s."state", s."whole" FROM read_parquet('part.parquet', file_row_number=true) AS s("amt", "country", "inv_no", "issued", "kind", "part", "state", "whole")) AS s
  JOIN (SELECT _row, list(struct_pack("column" := CASE rule WHEN 0 THEN 'invoice_id' WHEN 1 THEN '' END, "rule" := CASE rule WHEN 0 THEN '' WHEN 1 THEN 'unique_day' END, "type" := 'unique', "message" := CASE rule WHEN 0 THEN 'another row of the batch has the same key' WHEN 1 THEN 'another row of the batch has the same issued_on, region' END || '; row ' || keep || ' stays', "value" := value) ORDER BY _row, rule) AS errors FROM read_parquet('hits.parquet') WHERE _row >= 0 AND _row < 1000 GROUP BY _row) AS r ON s._row = r._row) ON r._row - 0 = l.file_row_number
ORDER BY r._row)
TO 'rejects-00000.parquet' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1);

