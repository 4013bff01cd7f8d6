package blob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"path"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/lume-data/lume/connector"
)

// attempt writes the data objects of one load.
type attempt struct {
	c      *Connector
	load   connector.Load
	target target
	// id is part of every name, so that attempts never share an object.
	id string
	// keys are the objects that have been written.
	keys             []string
	written, refused int64
}

// write writes rows and rejects and balances them. The marker that it returns stands nowhere yet.
func (a *attempt) write(ctx context.Context) (marker, []byte, error) {
	l := a.load
	m := marker{
		State: committed, RunID: l.RunID, Target: l.Target.Name, FlowVersion: l.FlowVersion, VersionDigest: l.VersionDigest,
		Mode: string(l.Target.Mode), Format: format(l.Target), Attempt: l.Attempt, Fence: l.Fence, WriteID: Nonce(),
	}
	a.id = objectID(l.Attempt, l.Fence, m.WriteID)
	for _, col := range l.Target.Columns {
		m.Columns = append(m.Columns, column{Name: col.Name, Type: col.Type.String(), Required: col.Required, Key: col.Key})
	}
	var err error
	if m.Mapped, err = a.rows(ctx); err != nil {
		return marker{}, nil, err
	}
	if m.Rejected, err = a.rejects(ctx); err != nil {
		return marker{}, nil, err
	}
	receipt, err := l.Balance(a.written, a.refused)
	if err != nil {
		return marker{}, nil, err
	}
	if l.Target.Mode == connector.Replace {
		current, _, err := a.c.readPointer(ctx, a.target)
		if err != nil {
			return marker{}, nil, err
		}
		m.Replaces = &current.Generation
	}
	return m, receipt, nil
}

// rows writes the mapped rows, at least one object, so that readers find the columns of an empty batch too.
func (a *attempt) rows(ctx context.Context) ([]dataObject, error) {
	reader, err := a.load.Rows.Open(ctx, 0, math.MaxInt64)
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	name := format(a.load.Target)
	parts := partWriter[batchEncoder]{a: a, dir: mappedDir, ending: name, open: func(w io.Writer) (batchEncoder, error) {
		return formats[name](w, a.load.Target.Columns)
	}}
	defer parts.abort()
	for {
		batch, err := reader.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		err = a.batch(ctx, &parts, batch)
		batch.Release()
		if err != nil {
			return nil, err
		}
	}
	if len(parts.objects) == 0 {
		if err := parts.begin(ctx); err != nil {
			return nil, err
		}
	}
	if err := parts.end(); err != nil {
		return nil, err
	}
	for _, o := range parts.objects {
		a.written += o.Rows
	}
	return parts.objects, nil
}

// batch writes one batch without the rows that the format cannot hold.
func (a *attempt) batch(ctx context.Context, parts *partWriter[batchEncoder], batch arrow.RecordBatch) error {
	if err := checkBatch(batch, a.load.Target.Columns); err != nil {
		return err
	}
	if err := parts.begin(ctx); err != nil {
		return err
	}
	err := parts.encoder.write(batch, func(i int, reason connector.RefusedRow) error {
		a.refused++
		return a.load.Refuse(ctx, rowOf(batch, i), reason)
	})
	if err != nil {
		return err
	}
	if a.load.Progress != nil {
		a.load.Progress(parts.rows())
	}
	return parts.endIfFull()
}

// partWriter shares rows out to data objects.
type partWriter[E encoder] struct {
	a *attempt
	// dir is the folder of the objects in the run's folder, ending the end of their names.
	dir, ending string
	open        func(io.Writer) (E, error)
	objects     []dataObject
	// sink is nil between objects.
	sink    *sink
	encoder E
}

// begin starts an object unless one is open.
func (p *partWriter[E]) begin(ctx context.Context) error {
	if p.sink != nil {
		return nil
	}
	name := objectName(p.dir, len(p.objects), p.a.id, p.ending)
	w, err := p.a.c.store.Create(ctx, p.a.target.folder()+name)
	if err != nil {
		return err
	}
	p.sink = &sink{w: w, hash: sha256.New(), name: name}
	p.encoder, err = p.open(p.sink)
	return err
}

func (p *partWriter[E]) endIfFull() error {
	if p.sink.bytes+p.encoder.buffered() < p.a.c.partBytes {
		return nil
	}
	return p.end()
}

// end makes the open object whole.
func (p *partWriter[E]) end() error {
	if p.sink == nil {
		return nil
	}
	rows, err := p.encoder.close()
	if err != nil {
		return err
	}
	s := p.sink
	p.sink = nil
	p.a.keys = append(p.a.keys, p.a.target.folder()+s.name)
	if err := s.w.Commit(); err != nil {
		return err
	}
	p.objects = append(p.objects, dataObject{Name: s.name, Rows: rows, Bytes: s.bytes, SHA256: hex.EncodeToString(s.hash.Sum(nil))})
	return nil
}

// abort drops the open object.
func (p *partWriter[E]) abort() {
	if p.sink != nil {
		p.sink.w.Abort()
		p.sink = nil
	}
}

// rows returns how many rows have been written.
func (p *partWriter[E]) rows() int64 {
	var n int64
	for _, o := range p.objects {
		n += o.Rows
	}
	if p.sink != nil {
		n += p.encoder.rows()
	}
	return n
}

// objectID is the part of an object's name that says who has written it.
func objectID(attempt int32, fence int64, nonce string) string {
	return fmt.Sprintf("%d-%d-%s", attempt, fence, nonce)
}

// objectName is the name of a data object from the run's folder.
func objectName(dir string, n int, id, ending string) string {
	return fmt.Sprintf("%spart-%05d-%s.%s", dir, n, id, ending)
}

// fenceOf returns the fence of the load that has written a data object; ok is false for every other key.
func fenceOf(key string) (fence int64, ok bool) {
	parts := strings.Split(path.Base(key), "-")
	if len(parts) != 5 || parts[0] != "part" {
		return 0, false
	}
	fence, err := strconv.ParseInt(parts[3], 10, 64)
	return fence, err == nil
}

// sink counts and hashes what goes to a store.
type sink struct {
	w     Writer
	hash  hash.Hash
	name  string
	bytes int64
}

// hashApart is from how many bytes on it pays to hash them beside the write.
const hashApart = 64 << 10

// Write implements io.Writer. After an error the hash is of no use.
func (s *sink) Write(p []byte) (n int, err error) {
	if len(p) < hashApart {
		s.hash.Write(p)
		n, err = s.w.Write(p)
	} else {
		hashed := make(chan struct{})
		go func() {
			defer close(hashed)
			s.hash.Write(p)
		}()
		n, err = s.w.Write(p)
		<-hashed
	}
	s.bytes += int64(n)
	return n, err
}
