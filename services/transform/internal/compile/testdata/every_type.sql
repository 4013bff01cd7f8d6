-- make room for what is not mapped
CREATE TABLE aside (_row BIGINT, "x" VARCHAR);

-- map and write the rows that pass
COPY (SELECT _row,
    hash(_row, "m_a_string", "m_a_bool", "m_an_int16", "m_an_int64", "m_a_decimal", "m_a_float32", "m_a_date", "m_a_month", "m_a_time", "m_a_timestamp", "m_an_instant", "m_a_local", "m_an_offset", "m_some_hex", "m_some_base64", "m_a_uuid", "m_some_json") AS "_lume_hash",
    "m_a_string" AS "a_string",
    "m_a_bool" AS "a_bool",
    "m_an_int16" AS "an_int16",
    "m_an_int64" AS "an_int64",
    "m_a_decimal" AS "a_decimal",
    "m_a_float32" AS "a_float32",
    "m_a_date" AS "a_date",
    "m_a_month" AS "a_month",
    "m_a_time" AS "a_time",
    "m_a_timestamp" AS "a_timestamp",
    "m_an_instant" AS "an_instant",
    "m_a_local" AS "a_local",
    "m_an_offset" AS "an_offset",
    "m_some_hex" AS "some_hex",
    "m_some_base64" AS "some_base64",
    "m_a_uuid" AS "a_uuid",
    "m_some_json" AS "some_json"
  FROM (SELECT _row,
    "k_x",
    "x_a_string",
    "x_a_string" AS "m_a_string",
    "x_a_bool",
    CASE "x_a_bool" WHEN 'true' THEN true WHEN 'false' THEN false ELSE CASE lower("x_a_bool") WHEN 'true' THEN true WHEN 'false' THEN false END END AS "m_a_bool",
    "x_an_int16",
    CASE WHEN "c_an_int16"::VARCHAR = "x_an_int16" THEN "c_an_int16" WHEN regexp_full_match("x_an_int16", '[+-]?[0-9]+') THEN "c_an_int16" END AS "m_an_int16",
    "x_an_int64",
    CASE WHEN "c_an_int64"::VARCHAR = "x_an_int64" THEN "c_an_int64" WHEN regexp_full_match("x_an_int64", '[+-]?[0-9]+') THEN "c_an_int64" END AS "m_an_int64",
    "x_a_decimal",
    CASE WHEN "c_a_decimal"::VARCHAR = "x_a_decimal" THEN "c_a_decimal" WHEN regexp_full_match("x_a_decimal", '[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)') THEN "c_a_decimal" END AS "m_a_decimal",
    "x_a_float32",
    CASE WHEN isfinite("c_a_float32") THEN CASE WHEN "c_a_float32"::VARCHAR = "x_a_float32" THEN "c_a_float32" WHEN regexp_full_match("x_a_float32", '[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?') THEN "c_a_float32" END END AS "m_a_float32",
    "x_a_date",
    CASE WHEN strlen("x_a_date") = 10 AND "c_a_date"::VARCHAR = "x_a_date" THEN "c_a_date" END AS "m_a_date",
    "x_a_month",
    CASE WHEN "c_a_month" BETWEEN TIMESTAMP '0001-01-01 00:00:00' AND TIMESTAMP '9999-12-31 23:59:59.999999' AND (strftime("c_a_month", '%d %b %Y') = "x_a_month" OR lower(strftime("c_a_month", '%d %b %Y')) = lower("x_a_month")) THEN "c_a_month"::DATE END AS "m_a_month",
    "x_a_time",
    CASE WHEN "c_a_time" < TIME '24:00:00' THEN CASE WHEN "c_a_time"::VARCHAR = "x_a_time" THEN "c_a_time" WHEN regexp_full_match("x_a_time", '(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?') THEN "c_a_time" END END AS "m_a_time",
    "x_a_timestamp",
    CASE WHEN "c_a_timestamp" BETWEEN TIMESTAMP '0001-01-01 00:00:00' AND TIMESTAMP '9999-12-31 23:59:59.999999' THEN CASE WHEN "c_a_timestamp"::VARCHAR = "x_a_timestamp" THEN "c_a_timestamp" WHEN regexp_full_match("x_a_timestamp", '(?:[0-9]{3}[1-9]|[0-9]{2}[1-9][0-9]|[0-9][1-9][0-9]{2}|[1-9][0-9]{3})-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])[ T](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?') THEN "c_a_timestamp" END END AS "m_a_timestamp",
    "x_an_instant",
    CASE WHEN "c_an_instant" BETWEEN TIMESTAMPTZ '0001-01-01 00:00:00+00' AND TIMESTAMPTZ '9999-12-31 23:59:59.999999+00' THEN "c_an_instant" END AS "m_an_instant",
    "x_a_local",
    CASE WHEN "c_a_local" BETWEEN TIMESTAMPTZ '0001-01-01 00:00:00+00' AND TIMESTAMPTZ '9999-12-31 23:59:59.999999+00' THEN "c_a_local" END AS "m_a_local",
    "x_an_offset",
    CASE WHEN "c_an_offset" BETWEEN TIMESTAMPTZ '0001-01-01 00:00:00+00' AND TIMESTAMPTZ '9999-12-31 23:59:59.999999+00' AND TRY(lower(strftime((timezone('UTC', "c_an_offset") + to_minutes(CASE regexp_extract("x_an_offset", '(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)$') WHEN 'Z' THEN 0 ELSE (CASE left(regexp_extract("x_an_offset", '(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)$'), 1) WHEN '-' THEN -1 ELSE 1 END) * (TRY_CAST(substr(regexp_extract("x_an_offset", '(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)$'), 2, 2) AS INTEGER) * 60 + coalesce(TRY_CAST(right(replace(substr(regexp_extract("x_an_offset", '(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)$'), 4), ':', ''), 2) AS INTEGER), 0)) END)), '%Y-%m-%d %H:%M:%S') || regexp_extract("x_an_offset", '(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)$'))) = lower("x_an_offset") THEN "c_an_offset" END AS "m_an_offset",
    "x_some_hex",
    CASE WHEN regexp_full_match("x_some_hex", '(?:[0-9a-fA-F]{2})*') THEN TRY(unhex("x_some_hex")) END AS "m_some_hex",
    "x_some_base64",
    CASE WHEN regexp_full_match("x_some_base64", '(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?') THEN TRY(from_base64("x_some_base64")) END AS "m_some_base64",
    "x_a_uuid",
    CASE WHEN "c_a_uuid" = "x_a_uuid" THEN "x_a_uuid" WHEN regexp_full_match("x_a_uuid", '[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}') THEN "c_a_uuid" END AS "m_a_uuid",
    "x_some_json",
    CASE WHEN json_valid("x_some_json") AND NOT (regexp_matches("x_some_json", '(?i)nan|inf|,\s*[\]}]') AND regexp_matches(regexp_replace("x_some_json", '"(?:[^"\\]|\\.)*"', '""', 'g'), '(?i)nan|inf|,\s*[\]}]')) THEN "x_some_json" END AS "m_some_json"
  FROM (SELECT _row,
    "k_x",
    "x_a_string",
    "x_a_bool",
    "x_an_int16",
    TRY_CAST("x_an_int16" AS SMALLINT) AS "c_an_int16",
    "x_an_int64",
    TRY_CAST("x_an_int64" AS BIGINT) AS "c_an_int64",
    "x_a_decimal",
    TRY_CAST("x_a_decimal" AS DECIMAL(38,9)) AS "c_a_decimal",
    "x_a_float32",
    TRY_CAST("x_a_float32" AS FLOAT) AS "c_a_float32",
    "x_a_date",
    TRY_CAST("x_a_date" AS DATE) AS "c_a_date",
    "x_a_month",
    try_strptime("x_a_month", '%d %b %Y') AS "c_a_month",
    "x_a_time",
    TRY_CAST("x_a_time" AS TIME) AS "c_a_time",
    "x_a_timestamp",
    TRY_CAST("x_a_timestamp" AS TIMESTAMP) AS "c_a_timestamp",
    "x_an_instant",
    CASE WHEN regexp_full_match("x_an_instant", '(?:[0-9]{3}[1-9]|[0-9]{2}[1-9][0-9]|[0-9][1-9][0-9]{2}|[1-9][0-9]{3})-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])[ T](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?(?:Z|[+-](?:0[0-9]|1[0-5])(?::?[0-5][0-9])?)') THEN TRY_CAST("x_an_instant" AS TIMESTAMPTZ) END AS "c_an_instant",
    "x_a_local",
    CASE WHEN regexp_full_match("x_a_local", '(?:[0-9]{3}[1-9]|[0-9]{2}[1-9][0-9]|[0-9][1-9][0-9]{2}|[1-9][0-9]{3})-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])[ T](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?(?:Z|[+-](?:0[0-9]|1[0-5])(?::?[0-5][0-9])?)') THEN TRY_CAST("x_a_local" AS TIMESTAMPTZ) WHEN regexp_full_match("x_a_local", '(?:[0-9]{3}[1-9]|[0-9]{2}[1-9][0-9]|[0-9][1-9][0-9]{2}|[1-9][0-9]{3})-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])[ T](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?') THEN TRY(CASE WHEN timezone('Europe/Paris', timezone('Europe/Paris', TRY_CAST("x_a_local" AS TIMESTAMP))) = TRY_CAST("x_a_local" AS TIMESTAMP) THEN timezone('Europe/Paris', TRY_CAST("x_a_local" AS TIMESTAMP)) END) END AS "c_a_local",
    "x_an_offset",
    try_strptime("x_an_offset", '%Y-%m-%d %H:%M:%S%z') AS "c_an_offset",
    "x_some_hex",
    "x_some_base64",
    "x_a_uuid",
    TRY_CAST("x_a_uuid" AS UUID)::VARCHAR AS "c_a_uuid",
    "x_some_json"
  FROM (SELECT s.file_row_number AS _row,
    s."x" AS "k_x",
    s."x" AS "x_a_string",
    s."x" AS "x_a_bool",
    s."x" AS "x_an_int16",
    s."x" AS "x_an_int64",
    s."x" AS "x_a_decimal",
    s."x" AS "x_a_float32",
    s."x" AS "x_a_date",
    s."x" AS "x_a_month",
    s."x" AS "x_a_time",
    s."x" AS "x_a_timestamp",
    s."x" AS "x_an_instant",
    s."x" AS "x_a_local",
    s."x" AS "x_an_offset",
    s."x" AS "x_some_hex",
    s."x" AS "x_some_base64",
    s."x" AS "x_a_uuid",
    s."x" AS "x_some_json"
  FROM read_parquet('part.parquet', file_row_number=true) AS s("x"))))
  WHERE CASE WHEN ("m_a_string" IS NULL OR regexp_full_match("m_a_string", '[a-z]+')) AND ("m_a_string" IS NULL OR length("m_a_string") <= 9)
    AND ("m_a_bool" IS NOT NULL OR "x_a_bool" IS NULL)
    AND ("m_an_int16" IS NOT NULL OR "x_an_int16" IS NULL)
    AND ("m_an_int64" IS NOT NULL OR "x_an_int64" IS NULL) AND ("m_an_int64" IS NULL OR "m_an_int64" IN (CAST('1' AS BIGINT), CAST('2' AS BIGINT)))
    AND ("m_a_decimal" IS NOT NULL OR "x_a_decimal" IS NULL)
    AND ("m_a_float32" IS NOT NULL OR "x_a_float32" IS NULL)
    AND ("m_a_date" IS NOT NULL OR "x_a_date" IS NULL)
    AND ("m_a_month" IS NOT NULL OR "x_a_month" IS NULL)
    AND ("m_a_time" IS NOT NULL OR "x_a_time" IS NULL)
    AND ("m_a_timestamp" IS NOT NULL OR "x_a_timestamp" IS NULL)
    AND ("m_an_instant" IS NOT NULL OR "x_an_instant" IS NULL)
    AND ("m_a_local" IS NOT NULL OR "x_a_local" IS NULL)
    AND ("m_an_offset" IS NOT NULL OR "x_an_offset" IS NULL)
    AND ("m_some_hex" IS NOT NULL OR "x_some_hex" IS NULL)
    AND ("m_some_base64" IS NOT NULL OR "x_some_base64" IS NULL)
    AND ("m_a_uuid" IS NOT NULL OR "x_a_uuid" IS NULL)
    AND ("m_some_json" IS NOT NULL OR "x_some_json" IS NULL)
    THEN true ELSE set_aside('aside', _row, CAST("k_x" AS VARCHAR)) END)
TO 'mapped.parquet' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1);

-- count and digest the mapped rows
SELECT (SELECT count(*) FROM read_parquet('mapped.parquet')),
  (SELECT coalesce(sum("_lume_hash"::HUGEINT), 0)::VARCHAR FROM read_parquet('mapped.parquet'));

-- look at what is rejected
CREATE TEMP VIEW rejected AS
SELECT _row, "x" FROM aside;

-- build the reasons of rejects
CREATE TEMP TABLE reasons AS
SELECT _row, list_filter([
    CASE WHEN "m_a_string" IS NOT NULL AND NOT (regexp_full_match("m_a_string", '[a-z]+')) THEN struct_pack("column" := 'a_string', "rule" := '', "type" := 'pattern', "message" := 'does not match the pattern [a-z]+', "value" := left(CAST("m_a_string" AS VARCHAR), 1000)) END,
    CASE WHEN "m_a_string" IS NOT NULL AND NOT (length("m_a_string") <= 9) THEN struct_pack("column" := 'a_string', "rule" := '', "type" := 'range', "message" := 'is longer than 9 characters', "value" := left(CAST("m_a_string" AS VARCHAR), 1000)) END,
    CASE WHEN "x_a_bool" IS NOT NULL AND "m_a_bool" IS NULL THEN struct_pack("column" := 'a_bool', "rule" := '', "type" := 'type', "message" := 'is not a bool', "value" := left(CAST("x_a_bool" AS VARCHAR), 1000)) END,
    CASE WHEN "x_an_int16" IS NOT NULL AND "m_an_int16" IS NULL THEN struct_pack("column" := 'an_int16', "rule" := '', "type" := 'type', "message" := 'is not an int16', "value" := left(CAST("x_an_int16" AS VARCHAR), 1000)) END,
    CASE WHEN "x_an_int64" IS NOT NULL AND "m_an_int64" IS NULL THEN struct_pack("column" := 'an_int64', "rule" := '', "type" := 'type', "message" := 'is not an int64', "value" := left(CAST("x_an_int64" AS VARCHAR), 1000)) END,
    CASE WHEN "m_an_int64" IS NOT NULL AND NOT ("m_an_int64" IN (CAST('1' AS BIGINT), CAST('2' AS BIGINT))) THEN struct_pack("column" := 'an_int64', "rule" := '', "type" := 'enum', "message" := 'is not one of 1, 2', "value" := left(CAST("m_an_int64" AS VARCHAR), 1000)) END,
    CASE WHEN "x_a_decimal" IS NOT NULL AND "m_a_decimal" IS NULL THEN struct_pack("column" := 'a_decimal', "rule" := '', "type" := 'type', "message" := 'is not a decimal(38,9)', "value" := left(CAST("x_a_decimal" AS VARCHAR), 1000)) END,
    CASE WHEN "x_a_float32" IS NOT NULL AND "m_a_float32" IS NULL THEN struct_pack("column" := 'a_float32', "rule" := '', "type" := 'type', "message" := 'is not a float32', "value" := left(CAST("x_a_float32" AS VARCHAR), 1000)) END,
    CASE WHEN "x_a_date" IS NOT NULL AND "m_a_date" IS NULL THEN struct_pack("column" := 'a_date', "rule" := '', "type" := 'type', "message" := 'is not a date', "value" := left(CAST("x_a_date" AS VARCHAR), 1000)) END,
    CASE WHEN "x_a_month" IS NOT NULL AND "m_a_month" IS NULL THEN struct_pack("column" := 'a_month', "rule" := '', "type" := 'type', "message" := 'is not a date in the format %d %b %Y', "value" := left(CAST("x_a_month" AS VARCHAR), 1000)) END,
    CASE WHEN "x_a_time" IS NOT NULL AND "m_a_time" IS NULL THEN struct_pack("column" := 'a_time', "rule" := '', "type" := 'type', "message" := 'is not a time', "value" := left(CAST("x_a_time" AS VARCHAR), 1000)) END,
    CASE WHEN "x_a_timestamp" IS NOT NULL AND "m_a_timestamp" IS NULL THEN struct_pack("column" := 'a_timestamp', "rule" := '', "type" := 'type', "message" := 'is not a timestamp', "value" := left(CAST("x_a_timestamp" AS VARCHAR), 1000)) END,
    CASE WHEN "x_an_instant" IS NOT NULL AND "m_an_instant" IS NULL THEN struct_pack("column" := 'an_instant', "rule" := '', "type" := 'type', "message" := 'is not a timestamptz', "value" := left(CAST("x_an_instant" AS VARCHAR), 1000)) END,
    CASE WHEN "x_a_local" IS NOT NULL AND "m_a_local" IS NULL THEN struct_pack("column" := 'a_local', "rule" := '', "type" := 'type', "message" := 'is not a timestamptz', "value" := left(CAST("x_a_local" AS VARCHAR), 1000)) END,
    CASE WHEN "x_an_offset" IS NOT NULL AND "m_an_offset" IS NULL THEN struct_pack("column" := 'an_offset', "rule" := '', "type" := 'type', "message" := 'is not a timestamptz in the format %Y-%m-%d %H:%M:%S%z', "value" := left(CAST("x_an_offset" AS VARCHAR), 1000)) END,
    CASE WHEN "x_some_hex" IS NOT NULL AND "m_some_hex" IS NULL THEN struct_pack("column" := 'some_hex', "rule" := '', "type" := 'type', "message" := 'is not a binary', "value" := left(CAST("x_some_hex" AS VARCHAR), 1000)) END,
    CASE WHEN "x_some_base64" IS NOT NULL AND "m_some_base64" IS NULL THEN struct_pack("column" := 'some_base64', "rule" := '', "type" := 'type', "message" := 'is not a binary in the format base64', "value" := left(CAST("x_some_base64" AS VARCHAR), 1000)) END,
    CASE WHEN "x_a_uuid" IS NOT NULL AND "m_a_uuid" IS NULL THEN struct_pack("column" := 'a_uuid', "rule" := '', "type" := 'type', "message" := 'is not a uuid', "value" := left(CAST("x_a_uuid" AS VARCHAR), 1000)) END,
    CASE WHEN "x_some_json" IS NOT NULL AND "m_some_json" IS NULL THEN struct_pack("column" := 'some_json', "rule" := '', "type" := 'type', "message" := 'is not a json', "value" := left(CAST("x_some_json" AS VARCHAR), 1000)) END], lambda e: e IS NOT NULL) AS errors
  FROM (SELECT _row,
    "x_a_string",
    "x_a_string" AS "m_a_string",
    "x_a_bool",
    CASE "x_a_bool" WHEN 'true' THEN true WHEN 'false' THEN false ELSE CASE lower("x_a_bool") WHEN 'true' THEN true WHEN 'false' THEN false END END AS "m_a_bool",
    "x_an_int16",
    CASE WHEN "c_an_int16"::VARCHAR = "x_an_int16" THEN "c_an_int16" WHEN regexp_full_match("x_an_int16", '[+-]?[0-9]+') THEN "c_an_int16" END AS "m_an_int16",
    "x_an_int64",
    CASE WHEN "c_an_int64"::VARCHAR = "x_an_int64" THEN "c_an_int64" WHEN regexp_full_match("x_an_int64", '[+-]?[0-9]+') THEN "c_an_int64" END AS "m_an_int64",
    "x_a_decimal",
    CASE WHEN "c_a_decimal"::VARCHAR = "x_a_decimal" THEN "c_a_decimal" WHEN regexp_full_match("x_a_decimal", '[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)') THEN "c_a_decimal" END AS "m_a_decimal",
    "x_a_float32",
    CASE WHEN isfinite("c_a_float32") THEN CASE WHEN "c_a_float32"::VARCHAR = "x_a_float32" THEN "c_a_float32" WHEN regexp_full_match("x_a_float32", '[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?') THEN "c_a_float32" END END AS "m_a_float32",
    "x_a_date",
    CASE WHEN strlen("x_a_date") = 10 AND "c_a_date"::VARCHAR = "x_a_date" THEN "c_a_date" END AS "m_a_date",
    "x_a_month",
    CASE WHEN "c_a_month" BETWEEN TIMESTAMP '0001-01-01 00:00:00' AND TIMESTAMP '9999-12-31 23:59:59.999999' AND (strftime("c_a_month", '%d %b %Y') = "x_a_month" OR lower(strftime("c_a_month", '%d %b %Y')) = lower("x_a_month")) THEN "c_a_month"::DATE END AS "m_a_month",
    "x_a_time",
    CASE WHEN "c_a_time" < TIME '24:00:00' THEN CASE WHEN "c_a_time"::VARCHAR = "x_a_time" THEN "c_a_time" WHEN regexp_full_match("x_a_time", '(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?') THEN "c_a_time" END END AS "m_a_time",
    "x_a_timestamp",
    CASE WHEN "c_a_timestamp" BETWEEN TIMESTAMP '0001-01-01 00:00:00' AND TIMESTAMP '9999-12-31 23:59:59.999999' THEN CASE WHEN "c_a_timestamp"::VARCHAR = "x_a_timestamp" THEN "c_a_timestamp" WHEN regexp_full_match("x_a_timestamp", '(?:[0-9]{3}[1-9]|[0-9]{2}[1-9][0-9]|[0-9][1-9][0-9]{2}|[1-9][0-9]{3})-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])[ T](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?') THEN "c_a_timestamp" END END AS "m_a_timestamp",
    "x_an_instant",
    CASE WHEN "c_an_instant" BETWEEN TIMESTAMPTZ '0001-01-01 00:00:00+00' AND TIMESTAMPTZ '9999-12-31 23:59:59.999999+00' THEN "c_an_instant" END AS "m_an_instant",
    "x_a_local",
    CASE WHEN "c_a_local" BETWEEN TIMESTAMPTZ '0001-01-01 00:00:00+00' AND TIMESTAMPTZ '9999-12-31 23:59:59.999999+00' THEN "c_a_local" END AS "m_a_local",
    "x_an_offset",
    CASE WHEN "c_an_offset" BETWEEN TIMESTAMPTZ '0001-01-01 00:00:00+00' AND TIMESTAMPTZ '9999-12-31 23:59:59.999999+00' AND TRY(lower(strftime((timezone('UTC', "c_an_offset") + to_minutes(CASE regexp_extract("x_an_offset", '(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)$') WHEN 'Z' THEN 0 ELSE (CASE left(regexp_extract("x_an_offset", '(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)$'), 1) WHEN '-' THEN -1 ELSE 1 END) * (TRY_CAST(substr(regexp_extract("x_an_offset", '(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)$'), 2, 2) AS INTEGER) * 60 + coalesce(TRY_CAST(right(replace(substr(regexp_extract("x_an_offset", '(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)$'), 4), ':', ''), 2) AS INTEGER), 0)) END)), '%Y-%m-%d %H:%M:%S') || regexp_extract("x_an_offset", '(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)$'))) = lower("x_an_offset") THEN "c_an_offset" END AS "m_an_offset",
    "x_some_hex",
    CASE WHEN regexp_full_match("x_some_hex", '(?:[0-9a-fA-F]{2})*') THEN TRY(unhex("x_some_hex")) END AS "m_some_hex",
    "x_some_base64",
    CASE WHEN regexp_full_match("x_some_base64", '(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?') THEN TRY(from_base64("x_some_base64")) END AS "m_some_base64",
    "x_a_uuid",
    CASE WHEN "c_a_uuid" = "x_a_uuid" THEN "x_a_uuid" WHEN regexp_full_match("x_a_uuid", '[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}') THEN "c_a_uuid" END AS "m_a_uuid",
    "x_some_json",
    CASE WHEN json_valid("x_some_json") AND NOT (regexp_matches("x_some_json", '(?i)nan|inf|,\s*[\]}]') AND regexp_matches(regexp_replace("x_some_json", '"(?:[^"\\]|\\.)*"', '""', 'g'), '(?i)nan|inf|,\s*[\]}]')) THEN "x_some_json" END AS "m_some_json"
  FROM (SELECT _row,
    "x_a_string",
    "x_a_bool",
    "x_an_int16",
    TRY_CAST("x_an_int16" AS SMALLINT) AS "c_an_int16",
    "x_an_int64",
    TRY_CAST("x_an_int64" AS BIGINT) AS "c_an_int64",
    "x_a_decimal",
    TRY_CAST("x_a_decimal" AS DECIMAL(38,9)) AS "c_a_decimal",
    "x_a_float32",
    TRY_CAST("x_a_float32" AS FLOAT) AS "c_a_float32",
    "x_a_date",
    TRY_CAST("x_a_date" AS DATE) AS "c_a_date",
    "x_a_month",
    try_strptime("x_a_month", '%d %b %Y') AS "c_a_month",
    "x_a_time",
    TRY_CAST("x_a_time" AS TIME) AS "c_a_time",
    "x_a_timestamp",
    TRY_CAST("x_a_timestamp" AS TIMESTAMP) AS "c_a_timestamp",
    "x_an_instant",
    CASE WHEN regexp_full_match("x_an_instant", '(?:[0-9]{3}[1-9]|[0-9]{2}[1-9][0-9]|[0-9][1-9][0-9]{2}|[1-9][0-9]{3})-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])[ T](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?(?:Z|[+-](?:0[0-9]|1[0-5])(?::?[0-5][0-9])?)') THEN TRY_CAST("x_an_instant" AS TIMESTAMPTZ) END AS "c_an_instant",
    "x_a_local",
    CASE WHEN regexp_full_match("x_a_local", '(?:[0-9]{3}[1-9]|[0-9]{2}[1-9][0-9]|[0-9][1-9][0-9]{2}|[1-9][0-9]{3})-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])[ T](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?(?:Z|[+-](?:0[0-9]|1[0-5])(?::?[0-5][0-9])?)') THEN TRY_CAST("x_a_local" AS TIMESTAMPTZ) WHEN regexp_full_match("x_a_local", '(?:[0-9]{3}[1-9]|[0-9]{2}[1-9][0-9]|[0-9][1-9][0-9]{2}|[1-9][0-9]{3})-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])[ T](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?') THEN TRY(CASE WHEN timezone('Europe/Paris', timezone('Europe/Paris', TRY_CAST("x_a_local" AS TIMESTAMP))) = TRY_CAST("x_a_local" AS TIMESTAMP) THEN timezone('Europe/Paris', TRY_CAST("x_a_local" AS TIMESTAMP)) END) END AS "c_a_local",
    "x_an_offset",
    try_strptime("x_an_offset", '%Y-%m-%d %H:%M:%S%z') AS "c_an_offset",
    "x_some_hex",
    "x_some_base64",
    "x_a_uuid",
    TRY_CAST("x_a_uuid" AS UUID)::VARCHAR AS "c_a_uuid",
    "x_some_json"
  FROM (SELECT s._row AS _row,
    s."x" AS "x_a_string",
    s."x" AS "x_a_bool",
    s."x" AS "x_an_int16",
    s."x" AS "x_an_int64",
    s."x" AS "x_a_decimal",
    s."x" AS "x_a_float32",
    s."x" AS "x_a_date",
    s."x" AS "x_a_month",
    s."x" AS "x_a_time",
    s."x" AS "x_a_timestamp",
    s."x" AS "x_an_instant",
    s."x" AS "x_a_local",
    s."x" AS "x_an_offset",
    s."x" AS "x_some_hex",
    s."x" AS "x_some_base64",
    s."x" AS "x_a_uuid",
    s."x" AS "x_some_json"
  FROM rejected AS s)));

-- write the rejects
COPY (SELECT r._row, 'the batch' AS file, l.line AS line, l.byte AS byte, 'transform' AS stage, CAST(to_json(r.errors) AS VARCHAR) AS errors, CAST(json_object('x', s."x") AS VARCHAR) AS record, NULL::BLOB AS raw
FROM read_parquet('locations.parquet', file_row_number=true) AS l
  RIGHT JOIN (rejected AS s JOIN reasons AS r ON r._row = s._row) ON r._row - 0 = l.file_row_number
ORDER BY r._row)
TO 'rejects.parquet' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1);

-- count the records
SELECT (SELECT count(*) FROM read_parquet('part.parquet', file_row_number=true) AS s("x")),
  0,
  (SELECT count(*) FROM reasons),
  (SELECT count(*) FROM read_parquet('mapped.parquet')),
  (SELECT count(*) FROM reasons WHERE len(errors) = 0);

