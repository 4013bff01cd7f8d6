// Package cast writes the SQL of strict conversions: text that is not, in full, the text of a type is not a value of it.
//
// The engine's own casts are lenient: '1e5', '0x10', ' 12 ' and '1_000' are integers to it, '12.345' becomes 12.35, an
// offset is dropped from a local timestamp. What is text of a type is written down here as patterns, once:
//
//	bool         true or false, in any case
//	int          optional sign, digits
//	decimal(p,s) optional sign, digits with an optional point; no digit but zero beyond the scale
//	float        the same with an optional exponent; finite; neither nan nor infinity
//	date         YYYY-MM-DD, years 0001 to 9999
//	time         HH:MM:SS, up to six digits of a second
//	timestamp    a date, a space or T, a time; never an offset
//	timestamptz  the same and always an offset: Z, +HH, +HHMM or +HH:MM; with a time zone given, local text too
//	uuid         8-4-4-4-12 hexadecimal digits; mapped values are in lower case
//	json         valid JSON (RFC 8259); mapped values keep their text
//	binary       pairs of hexadecimal digits, or base64 with padding
//
// A conversion of a column is written for speed: the lenient cast runs once per value, the result written back to text
// accepts values in their canonical form, and only others meet the pattern. See [Column].
package cast
