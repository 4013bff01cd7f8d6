package stage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"google.golang.org/grpc/codes"

	"github.com/lume-data/lume/connector"
	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/fault"
)

// Defaults of a batch.
const (
	// DefaultPartBytes is the size of the source data that makes one part.
	DefaultPartBytes = 64 << 20
	// DefaultMemory is the default of Config.Memory.
	DefaultMemory = 256 << 20
	// MinMemory is the least that Config.Memory counts for.
	MinMemory = chunkMemory
)

// Names of columns that a batch adds to the source's own.
const (
	// rawColumn holds a JSON record's own text.
	rawColumn = "_raw"
	// recordColumn holds the ordinal of the record from which a row was unnested.
	recordColumn = "_record"
)

// Store is where parts go.
type Store interface {
	// Put stores a finished local file under a key.
	Put(ctx context.Context, key, localPath string, rows int64) (*typev1.StagedObject, error)
}

// Config is what a Stager needs.
type Config struct {
	Registry *connector.Registry
	Env      connector.Env
	Store    Store
	// Memory bounds what one batch holds in memory, in bytes; at least MinMemory, and three times the longest record.
	Memory int64
	// Workers encode in parallel; 0 for one per CPU.
	Workers int
}

// Stager stages batches. It is safe for concurrent use.
type Stager struct{ cfg Config }

// New returns a stager.
func New(cfg Config) *Stager {
	if cfg.Memory == 0 {
		cfg.Memory = DefaultMemory
	}
	if cfg.Workers == 0 {
		cfg.Workers = runtime.GOMAXPROCS(0)
	}
	return &Stager{cfg: cfg}
}

// Batch is one batch to stage.
type Batch struct {
	Spec *flowv1.Flow
	// Connectors are the flow's, by name, with secrets.
	Connectors map[string]*controlv1.ConnectorConfig
	SourcePath string
	// Columns are the source columns, or JSON paths, that the flow reads.
	Columns []string
	// MaxRecords ends the batch early; 0 for all of it.
	MaxRecords int64
	// Prefix is the key below which objects are staged; it ends in a slash.
	Prefix string
	// Dir is an empty folder for files at work. The caller removes it.
	Dir string
	// Progress is told how many rows are staged and bytes read; nil for nobody.
	Progress func(rows, bytes int64)

	// reference is set if the batch is a reference of another batch.
	reference *flowv1.Reference
}

// Stage stages a batch. Its errors are coded.
func (s *Stager) Stage(ctx context.Context, b Batch) (*typev1.IngestManifest, error) {
	if b.Progress == nil {
		b.Progress = func(int64, int64) {}
	}
	m, err := s.stage(ctx, b)
	if err != nil {
		return nil, coded(err)
	}
	return m, nil
}

func (s *Stager) stage(ctx context.Context, b Batch) (*typev1.IngestManifest, error) {
	references, err := s.references(ctx, b)
	if err != nil {
		return nil, err
	}
	m := &typev1.IngestManifest{}
	src := b.Spec.GetSource()
	conn, err := s.open(ctx, b.Connectors, src.GetConnector())
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	var digest []byte
	if src.GetQuery() != "" {
		digest, err = s.query(ctx, conn, b, m)
	} else {
		digest, err = s.object(ctx, conn, b, m)
	}
	if err != nil {
		return nil, err
	}
	for _, r := range references {
		m.References = append(m.References, r.staged)
	}
	m.InputDigest = inputDigest(digest, references)
	return m, nil
}

// open opens a connector of the batch by name.
func (s *Stager) open(ctx context.Context, configs map[string]*controlv1.ConnectorConfig, name string) (connector.Connector, error) {
	cfg, ok := configs[name]
	if !ok {
		return nil, fault.New(codes.NotFound, "CONNECTOR_NOT_FOUND", "there is no connector %q", name).
			WithMeta("connector", name).WithNext("create it, or name another in the flow")
	}
	conn, err := OpenConnector(ctx, s.cfg.Registry, s.cfg.Env, cfg)
	if err != nil {
		return nil, fmt.Errorf("open connector %s: %w", name, err)
	}
	return conn, nil
}

// OpenConnector opens a connector of a configuration as control sends it.
func OpenConnector(ctx context.Context, registry *connector.Registry, env connector.Env, cfg *controlv1.ConnectorConfig) (connector.Connector, error) {
	secrets := make(map[string]connector.Secret, len(cfg.GetSecrets()))
	for name, value := range cfg.GetSecrets() {
		secrets[name] = connector.NewSecret(value)
	}
	return registry.Open(ctx, env, cfg.GetType(), cfg.GetSettings().AsMap(), secrets)
}

// object stages an object of an object store and returns its digest.
func (s *Stager) object(ctx context.Context, conn connector.Connector, b Batch, m *typev1.IngestManifest) ([]byte, error) {
	store, ok := conn.(connector.ObjectSource)
	if !ok {
		return nil, notASource(b.Spec.GetSource().GetConnector(), "objects", "query")
	}
	in := object{stager: s, store: store, path: b.SourcePath, compression: b.Spec.GetSource().GetCompression(), batch: b}
	m.SourceFile = fileName(b.SourcePath)
	switch f := b.Spec.GetSource().GetFormat().(type) {
	case *flowv1.Source_Json:
		return in.json(ctx, f.Json, b.Spec.GetUnnest(), b.Columns, m)
	case *flowv1.Source_Parquet:
		return in.parquet(ctx, m)
	default:
		return in.csv(ctx, b.Spec.GetSource().GetCsv(), m)
	}
}

func notASource(name, of, format string) error {
	return fault.New(codes.InvalidArgument, "WRONG_SOURCE_FORMAT", "connector %s is no source of %s", name, of).
		WithMeta("connector", name).WithNext("set the source's %s, or use another connector", format)
}

// partBytes returns the size of a part.
func (b Batch) partBytes() int64 {
	if n := b.Spec.GetLimits().GetPartBytes(); n > 0 {
		return n
	}
	return DefaultPartBytes
}

// coded keeps codes that there are, and codes what the machine did.
func coded(err error) error {
	var path *os.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, new(*fault.Error)), errors.As(err, new(*connector.Error)):
		return err
	case errors.As(err, &path), errors.As(err, &link):
		return fault.New(codes.Unavailable, "WORK_DIR_FAILED", "the ingest worker could not write to its work folder").
			WithNext("check the free space and the permissions of the worker's work folder").WithCause(err)
	}
	return err
}

// subdir makes a folder in the batch's folder.
func (b Batch) subdir(name string) (string, error) {
	dir := filepath.Join(b.Dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	return dir, nil
}
