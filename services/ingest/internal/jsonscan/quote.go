package jsonscan

const hexDigits = "0123456789abcdef"

// AppendString appends text, which is valid UTF-8, as a JSON string. Only what JSON does not permit is escaped.
func AppendString(out, text []byte) []byte {
	out = append(out, '"')
	from := 0
	for i, b := range text {
		if !special[b] {
			continue
		}
		out = append(out, text[from:i]...)
		from = i + 1
		switch b {
		case '"', '\\':
			out = append(out, '\\', b)
		case '\n':
			out = append(out, '\\', 'n')
		case '\r':
			out = append(out, '\\', 'r')
		case '\t':
			out = append(out, '\\', 't')
		default:
			out = append(out, '\\', 'u', '0', '0', hexDigits[b>>4], hexDigits[b&15])
		}
	}
	return append(append(out, text[from:]...), '"')
}
