package source

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"google.golang.org/grpc/codes"

	"github.com/lume-data/lume/internal/fault"
)

// maxWindow is the most memory that a zstd stream may ask for.
const maxWindow = 128 << 20

// Compressions as flows name them.
const (
	auto         = "auto"
	uncompressed = "none"
	gzipped      = "gzip"
	zstandard    = "zstd"
)

// signatures are the first bytes of what files may be instead of text. read names what Plain can decompress.
var signatures = []struct {
	magic      string
	name, read string
}{
	{"\x1f\x8b", "gzip", gzipped},
	{"\x28\xb5\x2f\xfd", "zstd", zstandard},
	{"BZh", "bzip2", ""},
	{"\xfd7zXZ\x00", "xz", ""},
	{"PK\x03\x04", "zip", ""},
	{"7z\xbc\xaf\x27\x1c", "7z", ""},
	{"\x04\x22\x4d\x18", "lz4", ""},
	{"PAR1", "Parquet", ""},
	{"Obj\x01", "Avro", ""},
	{"ORC", "ORC", ""},
	{"%PDF-", "PDF", ""},
}

// Plain returns the object's content decompressed as compression says: `auto` (or empty), `none`, `gzip` or `zstd`. With
// text, content that is known not to be text is refused. Errors are coded. Close it before the object.
func (o *Object) Plain(compression string, text bool) (io.ReadCloser, error) {
	return plain(o, compression, text)
}

func plain(r io.Reader, compression string, text bool) (io.ReadCloser, error) {
	below := &tap{source: r}
	buffered := bufio.NewReaderSize(below, 64<<10)
	head, err := buffered.Peek(8)
	if err != nil && err != io.EOF {
		return nil, err
	}
	name, read := sniff(head)
	switch compression {
	case uncompressed:
		return io.NopCloser(buffered), nil
	case gzipped, zstandard:
		if len(head) == 0 {
			return io.NopCloser(buffered), nil // An empty object is an empty batch.
		}
		if read != compression {
			return nil, fault.New(codes.InvalidArgument, "NOT_COMPRESSED", "the object is not %s, which the flow says it is", compression).
				WithMeta("compression", compression).WithNext("set the source's compression to auto or none")
		}
	default:
		if text && name != "" && read == "" {
			return nil, fault.New(codes.InvalidArgument, "UNSUPPORTED_CONTENT", "the object is a %s file, not text", name).
				WithMeta("content", name).WithNext("deliver it as plain text, gzip or zstd, or name its format in the flow")
		}
	}
	switch read {
	case gzipped:
		return newGzip(buffered, below)
	case zstandard:
		return newZstd(buffered, below)
	}
	return io.NopCloser(buffered), nil
}

func sniff(head []byte) (name, read string) {
	for _, s := range signatures {
		if bytes.HasPrefix(head, []byte(s.magic)) {
			return s.name, s.read
		}
	}
	return "", ""
}

// tap remembers how the source beneath a decompressor failed, which hides it behind an error of its own.
type tap struct {
	source io.Reader
	err    error
}

// Read implements io.Reader.
func (t *tap) Read(p []byte) (int, error) {
	n, err := t.source.Read(p)
	if err != nil && err != io.EOF {
		t.err = err
	}
	return n, err
}

// gzipReader reads the members of a gzip file, each with its checksum and length, up to the very end.
type gzipReader struct {
	below  *tap
	source *bufio.Reader
	member *gzip.Reader
	done   bool
}

func newGzip(source *bufio.Reader, below *tap) (io.ReadCloser, error) {
	member, err := gzip.NewReader(source)
	if err != nil {
		return nil, below.damaged("gzip", err)
	}
	member.Multistream(false)
	return &gzipReader{below: below, source: source, member: member}, nil
}

// Read implements io.Reader.
func (g *gzipReader) Read(p []byte) (int, error) {
	for !g.done {
		n, err := g.member.Read(p)
		if err == nil || err == io.EOF && n > 0 {
			return n, nil
		}
		if err != io.EOF {
			return n, g.below.damaged("gzip", err)
		}
		if err := g.next(); err != nil {
			return 0, err
		}
	}
	return 0, io.EOF
}

// next goes on with the next member; zeros behind the last one are padding.
func (g *gzipReader) next() error {
	head, err := g.source.Peek(2)
	switch {
	case len(head) == 0 && err == io.EOF:
		g.done = true
		return nil
	case err != nil && err != io.EOF:
		return err
	case len(head) == 2 && head[0] == 0x1f && head[1] == 0x8b:
		if err := g.member.Reset(g.source); err != nil {
			return g.below.damaged("gzip", err)
		}
		g.member.Multistream(false)
		return nil
	}
	for {
		b, err := g.source.ReadByte()
		if err == io.EOF {
			g.done = true
			return nil
		}
		if err != nil {
			return err
		}
		if b != 0 {
			return g.below.damaged("gzip", errors.New("bytes behind the last member"))
		}
	}
}

// Close implements io.Closer.
func (g *gzipReader) Close() error { return g.member.Close() }

// zstdReader codes the errors of a decoder.
type zstdReader struct {
	below   *tap
	decoder *zstd.Decoder
}

func newZstd(source io.Reader, below *tap) (io.ReadCloser, error) {
	decoder, err := zstd.NewReader(source, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, below.damaged("zstd", err)
	}
	return &zstdReader{below: below, decoder: decoder}, nil
}

// Read implements io.Reader.
func (z *zstdReader) Read(p []byte) (int, error) {
	n, err := z.decoder.Read(p)
	if err != nil && err != io.EOF {
		if errors.Is(err, zstd.ErrWindowSizeExceeded) {
			return n, fault.New(codes.InvalidArgument, "COMPRESSION_WINDOW_TOO_LARGE", "the zstd data needs more than %d bytes of memory to decompress", maxWindow).
				WithNext("compress it without --long above 27").WithCause(err)
		}
		return n, z.below.damaged("zstd", err)
	}
	return n, err
}

// Close implements io.Closer.
func (z *zstdReader) Close() error {
	z.decoder.Close()
	return nil
}

// damaged codes a decompressor's error, unless the source beneath it failed.
func (t *tap) damaged(format string, err error) error {
	if t.err != nil {
		return t.err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return fault.New(codes.InvalidArgument, "SOURCE_TRUNCATED", "the %s data ends before its end: the object is not whole", format).
			WithMeta("format", format).WithNext("deliver the whole file again").WithCause(err)
	}
	return fault.New(codes.InvalidArgument, "SOURCE_CORRUPT", "the %s data is damaged: a checksum or a header is wrong, or something follows its end", format).
		WithMeta("format", format).WithNext("deliver the file again").WithCause(err)
}
