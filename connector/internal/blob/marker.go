package blob

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/lume-data/lume/connector"
)

// States of a marker.
const (
	committed = "committed"
	aborted   = "aborted"
)

// marker is `_metadata.json`: what decides a run, and the list of its data objects.
type marker struct {
	State         string `json:"state"`
	RunID         string `json:"run_id"`
	Target        string `json:"target"`
	FlowVersion   string `json:"flow_version"`
	VersionDigest string `json:"version_digest,omitempty"`
	Mode          string `json:"mode,omitempty"`
	Format        string `json:"format,omitempty"`
	Attempt       int32  `json:"attempt,omitempty"`
	Fence         int64  `json:"fence,omitempty"`
	// etag is the entity tag that the marker was read with.
	etag string
	// WriteID tells the writer of a marker, whose write got no answer, that it was its own.
	WriteID string    `json:"write_id"`
	Time    time.Time `json:"time"`
	Columns []column  `json:"columns,omitempty"`
	// Mapped and Rejected are the data objects, named from the run's folder.
	Mapped   []dataObject `json:"mapped,omitempty"`
	Rejected []dataObject `json:"rejected,omitempty"`
	// Replaces is the generation of the pointer that a replace takes the place of.
	Replaces *int64 `json:"replaces_generation,omitempty"`
	// ReceiptBinary holds a receipt that is not JSON.
	ReceiptBinary []byte `json:"receipt_base64,omitempty"`
	// Receipt is the last member, byte for byte as it was given.
	Receipt json.RawMessage `json:"receipt,omitempty"`
}

type column struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Required bool   `json:"required,omitempty"`
	Key      bool   `json:"key,omitempty"`
}

type dataObject struct {
	Name   string `json:"name"`
	Rows   int64  `json:"rows"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// stops reports whether the marker decides a load or settlement with a fence: it is committed, or it was aborted by a settlement
// that was claimed later. An aborted marker of a lower fence gives way. A nil marker stops nobody.
func (m *marker) stops(fence int64) bool {
	return m != nil && (m.State == committed || m.Fence >= fence)
}

// encode returns the marker with the receipt.
func (m marker) encode(receipt []byte) ([]byte, error) {
	m.Receipt, m.ReceiptBinary = nil, nil
	valid := json.Valid(receipt)
	if !valid {
		m.ReceiptBinary = receipt
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the marker: %w", err)
	}
	if valid {
		// Marshalling would change the receipt's white space, and so its bytes.
		text = bytes.TrimSuffix(text, []byte("\n}"))
		text = append(append(append(text, ",\n  \"receipt\": "...), receipt...), "\n}"...)
	}
	return append(text, '\n'), nil
}

// receipt returns the receipt as it was given.
func (m marker) receipt() []byte {
	if m.Receipt != nil {
		return m.Receipt
	}
	return m.ReceiptBinary
}

// readMarker returns the marker of a run, or nil if there is none.
func (c *Connector) readMarker(ctx context.Context, t target) (*marker, error) {
	text, etag, err := c.readSmall(ctx, t.marker())
	if errors.Is(err, ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var m marker
	if err := json.Unmarshal(text, &m); err != nil || m.State != committed && m.State != aborted {
		return nil, damaged(t.marker(), err)
	}
	if m.RunID != t.runID || m.Target != t.name {
		return nil, &connector.Error{
			Kind: connector.KindConflict, Reason: "PREFIX_SHARED",
			Message: "the prefix holds the same run for another target", Next: "give every target of the flow a prefix of its own",
			Meta: map[string]string{"key": t.marker(), "target": m.Target},
		}
	}
	m.etag = etag
	return &m, nil
}

// maxSmall bounds objects that are read into memory.
const maxSmall = 64 << 20

// readSmall reads one content of a small object, with its entity tag.
func (c *Connector) readSmall(ctx context.Context, key string) ([]byte, string, error) {
	const tries = 20
	for try := 1; ; try++ {
		text, etag, err := c.readPinned(ctx, key)
		switch {
		case !errors.Is(err, connector.ErrChanged):
			return text, etag, err
		case try == tries:
			return nil, "", busy(key, err)
		}
	}
}

func (c *Connector) readPinned(ctx context.Context, key string) ([]byte, string, error) {
	a, err := c.store.Stat(ctx, key)
	if err != nil {
		return nil, "", err
	}
	if a.Size == 0 || a.Size > maxSmall {
		return nil, "", damaged(key, nil)
	}
	r, err := c.store.Open(ctx, key, a.ETag, 0, -1)
	if err != nil {
		return nil, "", err
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, maxSmall))
	switch {
	case err != nil:
		return nil, "", cutError(key, err)
	case int64(len(text)) != a.Size:
		// There are stores that give out size and content of an object at two moments.
		return nil, "", connector.ErrChanged
	}
	return text, a.ETag, nil
}

func damaged(key string, cause error) error {
	return &connector.Error{
		Kind: connector.KindConflict, Reason: "TARGET_METADATA_DAMAGED",
		Message: "the object " + key + " was not written by Lume or has been changed",
		Next:    "restore the object, or give the target another prefix", Meta: map[string]string{"key": key}, Cause: cause,
	}
}
