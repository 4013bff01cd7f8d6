package blob

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// pointer is `_current.json`: the one run that a prefix consists of once it has been replaced.
type pointer struct {
	// Generation grows by one with each replace.
	Generation int64  `json:"generation"`
	RunID      string `json:"run_id"`
	// Metadata is the run's marker, named from the prefix.
	Metadata string    `json:"metadata"`
	Previous string    `json:"previous_run_id,omitempty"`
	Time     time.Time `json:"time"`
}

// readPointer returns the pointer of a prefix and its entity tag; generation 0 and no tag if there is none.
func (c *Connector) readPointer(ctx context.Context, t target) (pointer, string, error) {
	text, etag, err := c.readSmall(ctx, t.pointer())
	if errors.Is(err, ErrNotExist) {
		return pointer{}, "", nil
	}
	if err != nil {
		return pointer{}, "", err
	}
	var p pointer
	if err := json.Unmarshal(text, &p); err != nil || p.Generation < 1 || p.RunID == "" {
		return pointer{}, "", damaged(t.pointer(), err)
	}
	return p, etag, nil
}

// point makes a committed replace the content of its prefix. It may be called as often as one likes: the pointer only moves
// away from the generation that the run's marker says it replaces. If it has left that, then either this run has moved it, or
// other runs have while this one was in flight; they count as having followed it, so that it is already replaced.
func (c *Connector) point(ctx context.Context, t target, m *marker) error {
	if m.Replaces == nil {
		return nil
	}
	for {
		current, etag, err := c.readPointer(ctx, t)
		if err != nil {
			return err
		}
		if current.Generation != *m.Replaces {
			return nil
		}
		text, err := json.MarshalIndent(pointer{
			Generation: current.Generation + 1, RunID: t.runID, Metadata: t.folderName() + markerName,
			Previous: current.RunID, Time: time.Now().UTC(),
		}, "", "  ")
		if err != nil {
			return fmt.Errorf("encode the pointer: %w", err)
		}
		err = c.store.Put(ctx, t.pointer(), append(text, '\n'), Condition{IfNotExist: etag == "", IfMatch: etag})
		if !errors.Is(err, ErrPrecondition) {
			return err
		}
	}
}
