// Package csvscan reads separated text exactly, in two steps: a [Scanner] finds where records begin and end, in order,
// and a [Splitter] makes rows of them, chunk by chunk and in parallel.
//
// The rules, which follow RFC 4180 where it speaks:
//
//   - A line ends with LF, CRLF or CR, in any mixture. The last line needs no end.
//   - A quote opens a quoted field only as the field's first character. Inside, everything is text, line ends included,
//     and a doubled quote is one quote. After the closing quote comes a delimiter or a line end.
//   - A blank line is not a record, unless there is only one column.
//   - An unquoted field equal to a null token is NULL; a quoted one never is. Nothing is trimmed.
//
// What does not follow them is one malformed record, kept whole with its line and byte:
//
//   - Too few or too many fields: the record, whatever lines it spans.
//   - A quote inside an unquoted field, text after a closing quote, a quote that is never closed: the first line of the
//     record only. Scanning goes on with the next line, so that a stray quote swallows no record behind it. The message
//     says up to which line the search for the closing quote went.
//   - A record longer than the limit: the bytes up to the limit are kept. Scanning goes on behind the next line end
//     beyond the limit; or, if that lies inside quotes, behind the record's first line, as for a quote never closed.
//   - Bytes that are not valid UTF-8 (or UTF-16, for a source in that encoding): the record, with type `encoding`.
//
// A NUL character is text like any other.
package csvscan
