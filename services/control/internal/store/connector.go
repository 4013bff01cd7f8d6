package store

import (
	"context"
	"time"
)

// Connector is an authenticated link to one external system.
type Connector struct {
	// Name is the last part of `connectors/{connector}`.
	Name        string
	Type        string
	Description string
	// Settings as JSON gives them (string, bool, float64); no secret among them.
	Settings map[string]any
	// Secrets by field name of the connector's spec.
	Secrets map[string]SealedSecret
	// ETag is made by the store at every write.
	ETag string
	// CreateTime and UpdateTime are set by the store.
	CreateTime, UpdateTime time.Time
}

// SealedSecret is one secret as it is kept.
type SealedSecret struct {
	// Sealed is opaque to the store.
	Sealed []byte
	// Fingerprint tells equal secrets without telling them.
	Fingerprint string
	// UpdateTime is when this secret was last set.
	UpdateTime time.Time
}

// ConnectorReader reads connectors.
type ConnectorReader interface {
	// Connector returns ErrNotFound if there is none of that name.
	Connector(ctx context.Context, name string) (Connector, error)
	// ListConnectors lists by name; typ filters unless it is empty. next is empty on the last page.
	ListConnectors(ctx context.Context, typ string, page Page) (connectors []Connector, next string, err error)
}

// ConnectorWriter writes connectors.
type ConnectorWriter interface {
	// CreateConnector returns the record as stored, or ErrExists.
	CreateConnector(ctx context.Context, c Connector) (Connector, error)
	// UpdateConnector replaces everything but name, type and creation time. etag must be what stands there unless it is
	// empty (ErrConflict). ErrNotFound if there is none.
	UpdateConnector(ctx context.Context, c Connector, etag string) (Connector, error)
	// DeleteConnector deletes the connector and its secrets. ErrNotFound, ErrConflict as above; ErrInUse (see [InUseError])
	// while an unfinished or unsettled run needs it.
	DeleteConnector(ctx context.Context, name, etag string) error
	// RequireConnectors returns ErrNotFound, with the name, unless all exist, and keeps them from being deleted until
	// the transaction ends.
	RequireConnectors(ctx context.Context, names []string) error
}

// InUseError is an ErrInUse that names the run.
type InUseError struct {
	// RunID is one run that needs the record.
	RunID string
}

// Error implements error.
func (e *InUseError) Error() string { return "store: in use by run " + e.RunID }

// Is makes it an ErrInUse.
func (e *InUseError) Is(target error) bool { return target == ErrInUse }

// MissingError is an ErrNotFound that names what is missing.
type MissingError struct {
	// Kind is the noun, for example `connector`; Name its name.
	Kind, Name string
}

// Error implements error.
func (e *MissingError) Error() string { return "store: no " + e.Kind + " " + e.Name }

// Is makes it an ErrNotFound.
func (e *MissingError) Is(target error) bool { return target == ErrNotFound }
