package load

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/lume-data/lume/connector"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/rejectfile"
)

// chain iterates over reject files one after the other. It implements connector.Rejects.
type chain struct {
	// files say how to get each file, when its turn comes.
	files []func(context.Context) (string, error)
	open  *rejectfile.Reader
}

// Next implements connector.Rejects.
func (c *chain) Next(ctx context.Context) (connector.Reject, error) {
	for {
		if c.open == nil {
			if len(c.files) == 0 {
				return connector.Reject{}, io.EOF
			}
			path, err := c.files[0](ctx)
			if err != nil {
				return connector.Reject{}, err
			}
			c.files = c.files[1:]
			if path == "" {
				continue
			}
			if c.open, err = rejectfile.Open(path); err != nil {
				return connector.Reject{}, fmt.Errorf("open rejects: %w", err)
			}
		}
		record, err := c.open.Next()
		if errors.Is(err, io.EOF) {
			err = c.Close()
			if err != nil {
				return connector.Reject{}, err
			}
			continue
		}
		if err != nil {
			return connector.Reject{}, err
		}
		return rejectOf(record), nil
	}
}

// Close implements connector.Rejects.
func (c *chain) Close() error {
	if c.open == nil {
		return nil
	}
	err := c.open.Close()
	c.open = nil
	return err
}

func rejectOf(r rejectfile.Record) connector.Reject {
	return connector.Reject{
		Row: orNegative(r.Row), File: r.File, Line: orNegative(r.Line), Byte: orNegative(r.Byte),
		Stage: rejectfile.StageName(r.Stage), Errors: r.Errors, Record: r.Record, Raw: r.Raw,
	}
}

func orNegative(n *int64) int64 {
	if n == nil {
		return -1
	}
	return *n
}

// rejects returns the rejects of the earlier stages and those of this load, in order of stages and parts.
func (j *job) rejects() (connector.Rejects, error) {
	c := &chain{}
	staged := func(obj *typev1.StagedObject) {
		if obj.GetRows() > 0 {
			c.files = append(c.files, func(ctx context.Context) (string, error) { return j.files.get(ctx, obj) })
		}
	}
	staged(j.task.GetIngest().GetRejects())
	for _, p := range j.task.GetParts() {
		staged(p.GetRejects())
	}
	staged(j.task.GetClosing().GetRejects())
	c.files = append(c.files, j.finish)
	return c, nil
}

// messageSibling is why a row goes with another one of its record.
const messageSibling = "another row of the same record was refused by the target"

// rejectType is the type of the rejects of this stage.
const rejectType = "target"

// finish writes the refused rows with their records to a local file, once, and returns its path; empty if there are none.
// Nothing can be refused any more.
func (j *job) finish(ctx context.Context) (path string, err error) {
	if j.finished {
		return j.refusedPath, nil
	}
	if j.refused.len() == 0 {
		j.finished = true
		return "", nil
	}
	path = j.path(fmt.Sprintf("refused-%d.parquet", j.round))
	w, err := rejectfile.Create(path)
	if err != nil {
		return "", err
	}
	defer func() {
		_, closeErr := w.Close()
		err = errors.Join(err, closeErr)
	}()
	records := newOriginals(j.files, j.memory, j.task.GetIngest())
	defer func() { err = errors.Join(err, records.close()) }()
	values := &valueFinder{rows: j.mapped}
	defer func() { err = errors.Join(err, values.close()) }()
	for _, refused := range j.refused.sorted() {
		found, err := records.find(ctx, refused.row)
		if err != nil {
			return "", err
		}
		reason := j.refused.reasons[refused.reason]
		value, err := values.find(ctx, refused.row, reason.Column)
		if err != nil {
			return "", err
		}
		row := refused.row
		if err := w.Append(rejectfile.Record{
			Row: &row, File: j.task.GetIngest().GetSourceFile(), Line: found.line, Byte: found.byte, Stage: typev1.Stage_STAGE_EGRESS,
			Errors: rejectfile.EncodeErrors(&typev1.RejectError{Column: reason.Column, Type: rejectType, Message: reason.Message, Value: value}),
			Record: found.record,
		}); err != nil {
			return "", err
		}
	}
	j.finished, j.refusedPath = true, path
	return path, nil
}
