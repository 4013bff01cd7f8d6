package store

import (
	"context"
	"time"

	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
)

// Flow is the editable blueprint. Its name is Spec.Name.
type Flow struct {
	Name string
	Spec *flowv1.Flow
	// LatestVersion is the number of the newest version; 0 if there is none. Set by the store.
	LatestVersion int32
	// ETag is made by the store at every write of the spec; a new version does not change it.
	ETag string
	// CreateTime and UpdateTime are set by the store.
	CreateTime, UpdateTime time.Time
}

// FlowReader reads flows.
type FlowReader interface {
	// Flow returns ErrNotFound if there is none of that name.
	Flow(ctx context.Context, name string) (Flow, error)
	// ListFlows lists by name.
	ListFlows(ctx context.Context, page Page) (flows []Flow, next string, err error)
}

// FlowWriter writes flows.
type FlowWriter interface {
	// CreateFlow returns the record as stored, or ErrExists.
	CreateFlow(ctx context.Context, f Flow) (Flow, error)
	// UpdateFlow replaces the spec. etag must be what stands there unless it is empty (ErrConflict). ErrNotFound if there
	// is none.
	UpdateFlow(ctx context.Context, f Flow, etag string) (Flow, error)
	// DeleteFlow deletes a flow without versions: ErrInUse if it has one. ErrNotFound, ErrConflict as above.
	DeleteFlow(ctx context.Context, name, etag string) error
}

// Version is an immutable snapshot of a flow.
type Version struct {
	Flow string
	// Number counts from 1 in each flow. Set by the store.
	Number int32
	Spec   *flowv1.Flow
	// Digest is the content address; unique in the flow.
	Digest string
	// Engine is the compiler and engine that checked it.
	Engine  string
	Comment string
	// SourceColumns are the source columns, or JSON paths, that it reads.
	SourceColumns []string
	// Connectors are the names of the connectors that its runs need.
	Connectors []string
	// CreateTime is set by the store.
	CreateTime time.Time
}

// VersionReader reads versions.
type VersionReader interface {
	// Version returns ErrNotFound if there is none of that number.
	Version(ctx context.Context, flow string, number int32) (Version, error)
	// VersionByDigest returns ErrNotFound if no version of the flow has that content.
	VersionByDigest(ctx context.Context, flow, digest string) (Version, error)
	// ListVersions lists newest first.
	ListVersions(ctx context.Context, flow string, page Page) (versions []Version, next string, err error)
}

// VersionWriter writes versions. They are never changed and never deleted.
type VersionWriter interface {
	// CreateVersion gives the next number. ErrNotFound if the flow does not exist; ErrExists if a version has the digest:
	// read it with VersionByDigest. flowETag must be the flow's unless it is empty (ErrConflict).
	CreateVersion(ctx context.Context, v Version, flowETag string) (Version, error)
}

// Alias is a name that points at a version of its flow.
type Alias struct {
	Flow string
	// Name is the last part of `flows/{flow}/aliases/{alias}`.
	Name    string
	Version int32
	// ETag is made by the store at every write.
	ETag string
	// UpdateTime is set by the store.
	UpdateTime time.Time
}

// AliasReader reads aliases.
type AliasReader interface {
	// Alias returns ErrNotFound if there is none of that name.
	Alias(ctx context.Context, flow, name string) (Alias, error)
	// ListAliases lists by name.
	ListAliases(ctx context.Context, flow string, page Page) (aliases []Alias, next string, err error)
}

// AliasWriter writes aliases.
type AliasWriter interface {
	// SetAlias creates the alias or moves it. etag must be what stands there unless it is empty (ErrConflict, also when
	// the alias does not exist). ErrNotFound if the version does not exist.
	SetAlias(ctx context.Context, a Alias, etag string) (Alias, error)
	// DeleteAlias returns ErrNotFound, or ErrConflict if etag is neither empty nor the alias's.
	DeleteAlias(ctx context.Context, flow, name, etag string) error
}
