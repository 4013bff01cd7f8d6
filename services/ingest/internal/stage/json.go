package stage

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"

	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/services/ingest/internal/chunk"
	"github.com/lume-data/lume/services/ingest/internal/jsonscan"
	"github.com/lume-data/lume/services/ingest/internal/source"
)

// Layouts of JSON as flows name them.
const (
	layoutLines = "lines"
	layoutArray = "array"
)

// json stages JSON records, with a column for each path.
func (o object) json(ctx context.Context, spec *flowv1.Json, unnest *flowv1.Unnest, paths []string, m *typev1.IngestManifest) ([]byte, error) {
	m.HasRaw, m.Unnested = true, unnest.GetPath() != ""
	digest, err := o.stageText(ctx, "", true, m, func(decoded source.Text, limits chunk.Limits) (*text, error) {
		return o.jsonText(spec, unnest, paths, decoded, limits)
	})
	return digest, brokenDocument(err)
}

// jsonText makes decoded JSON ready to be staged.
func (o object) jsonText(spec *flowv1.Json, unnest *flowv1.Unnest, paths []string, decoded source.Text, limits chunk.Limits) (*text, error) {
	opts := jsonscan.Options{MaxRecord: int(spec.GetMaxRecordBytes()), Base: decoded.Base}
	shape := jsonscan.Shape{Paths: distinct(paths), Unnest: unnest.GetPath(), As: unnest.GetAs()}
	if !decoded.Encoding.UTF8() {
		opts.Width, shape.Width = decoded.Encoding.Width, decoded.Encoding.Width
	}
	array, err := isArray(spec, decoded)
	if err != nil {
		return nil, err
	}
	shape.Array = array
	t := &text{newParser: func() parser { return jsonscan.NewParser(shape) }, columns: shape.Columns(rawColumn), unnested: shape.Unnest != ""}
	if array {
		scan := jsonscan.NewArray(decoded, recordsPath(spec), opts, limits)
		t.scanner, t.grow = scan, scan.OnGrow
	} else {
		scan := jsonscan.NewLines(decoded, opts, limits)
		t.scanner, t.grow = scan, scan.OnGrow
	}
	return t, nil
}

// isArray decides the layout.
func isArray(spec *flowv1.Json, decoded source.Text) (bool, error) {
	switch {
	case spec.GetLayout() == layoutArray || len(recordsPath(spec)) > 0:
		return true, nil
	case spec.GetLayout() == layoutLines:
		return false, nil
	}
	first, err := decoded.First()
	return first == '[', err
}

// recordsPath returns the keys on the way to the records.
func recordsPath(spec *flowv1.Json) []string {
	path := strings.TrimPrefix(strings.TrimPrefix(spec.GetRecords(), "$"), ".")
	if path == "" {
		return nil
	}
	return strings.Split(path, ".")
}

// distinct returns the paths without repetitions and without the columns that a batch adds itself.
func distinct(paths []string) []string {
	seen := map[string]bool{rawColumn: true, recordColumn: true}
	var out []string
	for _, p := range paths {
		if !seen[p] {
			seen[p] = true
			out = append(out, p)
		}
	}
	return out
}

// brokenDocument codes what is wrong with a document as a whole.
func brokenDocument(err error) error {
	var array *jsonscan.ArrayError
	var path *jsonscan.PathError
	switch {
	case errors.As(err, &array):
		return fault.New(codes.InvalidArgument, "MALFORMED_JSON_ARRAY", "the document stops being JSON at byte %d, line %d: %s",
			array.Offset, array.Line, array.Message).
			WithMeta("byte", strconv.FormatInt(array.Offset, 10)).WithMeta("line", strconv.FormatInt(array.Line, 10)).
			WithCoordinate(&typev1.Coordinate{Line: &array.Line, ByteOffset: &array.Offset}).
			WithNext("correct the document, or deliver one record per line, where a bad record harms no other")
	case errors.As(err, &path):
		return fault.New(codes.InvalidArgument, "RECORDS_NOT_FOUND", "%s", path.Message).
			WithNext("correct the flow's source.json.records, or the document")
	}
	return err
}
