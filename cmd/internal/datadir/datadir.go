// Package datadir knows what lies where in the data folder of `lume up`, which the CLI reads to find the API and its
// key.
package datadir

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Dir is a data folder.
type Dir struct{ Path string }

// AdminKey is the file with the API key that was made on the first start; mode 0600.
func (d Dir) AdminKey() string { return filepath.Join(d.Path, "admin.key") }

// Endpoints is the file that says where the services listen; see [Endpoints].
func (d Dir) Endpoints() string { return filepath.Join(d.Path, "endpoints.json") }

// Database is control's SQLite database.
func (d Dir) Database() string { return filepath.Join(d.Path, "control.db") }

// Keyset is the file with the key that seals connectors' secrets; mode 0600. Without it no secret can be read again.
func (d Dir) Keyset() string { return filepath.Join(d.Path, "keyset.json") }

// NATS is the folder of the embedded NATS server.
func (d Dir) NATS() string { return filepath.Join(d.Path, "nats") }

// Staging is the folder of staged batches and rejects.
func (d Dir) Staging() string { return filepath.Join(d.Path, "staging") }

// Work is the folder of what attempts need while they run; it is emptied at every start.
func (d Dir) Work() string { return filepath.Join(d.Path, "work") }

// Lock is the file that keeps a second `lume up` out of the folder.
func (d Dir) Lock() string { return filepath.Join(d.Path, "lock") }

// Create makes the folder, open to its owner only.
func (d Dir) Create() error {
	for _, path := range []string{d.Path, d.NATS(), d.Staging(), d.Work()} {
		if err := os.MkdirAll(path, 0o700); err != nil {
			return fmt.Errorf("create the data folder: %w", err)
		}
	}
	return nil
}

// Endpoints says where the services of a running `lume up` listen.
type Endpoints struct {
	PID           int    `json:"pid"`
	ControlGRPC   string `json:"control_grpc"`
	ControlHTTP   string `json:"control_http"`
	IngestGRPC    string `json:"ingest_grpc"`
	IngestHTTP    string `json:"ingest_http"`
	TransformGRPC string `json:"transform_grpc"`
	TransformHTTP string `json:"transform_http"`
	EgressGRPC    string `json:"egress_grpc"`
	EgressHTTP    string `json:"egress_http"`
}

// Write replaces the endpoints file in one step, so that no reader sees half of it.
func (d Dir) Write(e Endpoints) error {
	text, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return err
	}
	tmp := d.Endpoints() + ".new"
	if err := os.WriteFile(tmp, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the endpoints file: %w", err)
	}
	return os.Rename(tmp, d.Endpoints())
}
