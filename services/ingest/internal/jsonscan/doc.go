// Package jsonscan reads JSON records exactly: one object per line, or the elements of an array that may lie deep in a
// document. [Lines] and [Array] cut a source into chunks of records, in order and with memory for one record; a
// [Parser] validates records and takes values out of them, chunk by chunk and in parallel.
//
// A value is addressed by a dotted path of object keys; keys with dots and elements of arrays cannot be addressed. Its
// text is: of a string, the string; of a number, the digits as they stand in the source; `true` and `false`; of an
// object or array, its JSON text as it stands in the source. JSON null and a missing value are NULL.
//
// A record is rejected as malformed if it is no object, is no valid JSON (RFC 8259, nothing more), has the same key twice
// in any of its objects, is nested deeper than [MaxDepth], or is longer than the limit; and as badly encoded if its
// bytes are not valid UTF-8, or if a string escapes half a surrogate pair, which no text can hold. U+0000 is a character
// like any other.
//
// In lines, the line end bounds the damage: the next line is unaffected. A blank line is no record. In an array,
// nothing behind a place that is not JSON can be trusted, so an [ArrayError] with its offset ends the source. What stands
// in the document beside the records is checked for strings and brackets only.
package jsonscan
