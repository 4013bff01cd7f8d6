package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"unicode/utf8"

	"google.golang.org/grpc/codes"

	"github.com/lume-data/lume/connector"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/services/ingest/internal/chunk"
	"github.com/lume-data/lume/services/ingest/internal/csvscan"
	"github.com/lume-data/lume/services/ingest/internal/jsonscan"
	"github.com/lume-data/lume/services/ingest/internal/source"
)

const (
	// DefaultReferenceBytes is the largest size of a reference when staged.
	DefaultReferenceBytes = 256 << 20
	// maxReferencePaths is how many values a reference in JSON may have in all of its records together.
	maxReferencePaths = 1000
)

// reference is lookup data that is staged.
type reference struct {
	staged *typev1.StagedReference
	digest []byte
}

// references stages the flow's references, in the flow's order.
func (s *Stager) references(ctx context.Context, b Batch) ([]reference, error) {
	var out []reference
	for _, spec := range b.Spec.GetReferences() {
		r, err := s.reference(ctx, b, spec)
		if err != nil {
			return nil, fmt.Errorf("reference %s: %w", spec.GetName(), err)
		}
		out = append(out, r)
	}
	return out, nil
}

// reference stages one reference as one object.
func (s *Stager) reference(ctx context.Context, of Batch, spec *flowv1.Reference) (reference, error) {
	dir, err := of.subdir("reference-" + spec.GetName())
	if err != nil {
		return reference{}, err
	}
	whole := int64(1) << 62
	b := Batch{
		Spec: &flowv1.Flow{Source: sourceOf(spec), Limits: &flowv1.Limits{PartBytes: &whole}}, Connectors: of.Connectors,
		SourcePath: spec.GetPath(), Prefix: of.Prefix, Dir: dir, Progress: func(int64, int64) {}, reference: spec,
	}
	conn, err := s.open(ctx, b.Connectors, spec.GetConnector())
	if err != nil {
		return reference{}, err
	}
	defer func() { _ = conn.Close() }()
	m := &typev1.IngestManifest{}
	var digest []byte
	var etag string // Of the object in which paths were looked for.
	if query := spec.GetQuery(); query != "" {
		digest, err = s.rows(ctx, conn, rowsOf{name: spec.GetConnector(), query: query}, b, m)
	} else {
		if json := spec.GetJson(); json != nil {
			if b.Columns, etag, err = s.referencePaths(ctx, conn, b, json); err != nil {
				return reference{}, err
			}
		}
		digest, err = s.object(ctx, conn, b, m)
	}
	if err == nil && etag != "" && etag != m.GetSourceEtag() {
		err = fault.New(codes.Aborted, "SOURCE_OBJECT_CHANGED", "reference %s was replaced while it was read", spec.GetName()).
			WithMeta("reference", spec.GetName()).AsRetryable()
	}
	if err != nil {
		return reference{}, err
	}
	return reference{digest: digest, staged: &typev1.StagedReference{
		Name: spec.GetName(), Data: m.GetParts()[0].GetData(), Columns: m.GetColumns(),
	}}, nil
}

// sourceOf returns a reference as a source.
func sourceOf(spec *flowv1.Reference) *flowv1.Source {
	src := &flowv1.Source{Connector: spec.GetConnector()}
	switch f := spec.GetFormat().(type) {
	case *flowv1.Reference_Json:
		src.Format = &flowv1.Source_Json{Json: f.Json}
	case *flowv1.Reference_Parquet:
		src.Format = &flowv1.Source_Parquet{Parquet: f.Parquet}
	default:
		src.Format = &flowv1.Source_Csv{Csv: spec.GetCsv()}
	}
	return src
}

// referencePaths reads a reference in JSON once to find every path in it: the flow does not say which ones there are.
func (s *Stager) referencePaths(ctx context.Context, conn connector.Connector, b Batch, spec *flowv1.Json) (list []string, etag string, err error) {
	store, ok := conn.(connector.ObjectSource)
	if !ok {
		return nil, "", notASource(b.Spec.GetSource().GetConnector(), "objects", "query")
	}
	o := object{stager: s, store: store, path: b.SourcePath, batch: b}
	found := map[string]bool{}
	err = o.decode(ctx, "", true, func(in *source.Object, decoded source.Text, limits chunk.Limits) error {
		etag = in.Info().ETag
		t, err := o.jsonText(spec, nil, nil, decoded, limits)
		if err != nil {
			return err
		}
		c := &chunk.Chunk{Data: make([]byte, 0, chunkBuffer)}
		t.grow(func(int) error { return nil })
		for {
			if err := t.scanner.Next(c); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			for i, record := range c.Records {
				if record.Flags&chunk.Faulty == 0 && utf8.Valid(c.Bytes(i)) {
					jsonscan.Paths(c.Bytes(i), func(path string) { found[path] = true })
				}
			}
			if len(found) > maxReferencePaths {
				return fault.New(codes.FailedPrecondition, "REFERENCE_TOO_LARGE", "reference %s has more than %d different values in its records",
					b.reference.GetName(), maxReferencePaths).WithMeta("reference", b.reference.GetName()).
					WithNext("give the reference's records the same few keys")
			}
		}
	})
	if err != nil {
		return nil, "", brokenDocument(err)
	}
	list = slices.Sorted(maps.Keys(found))
	if err := csvscan.CheckNames(list, 0); err != nil {
		return nil, "", fault.New(codes.InvalidArgument, "INVALID_SOURCE_COLUMNS", "reference %s cannot be used: %s", b.reference.GetName(), err).
			WithNext("give its values names that differ in more than case")
	}
	return list, etag, nil
}
