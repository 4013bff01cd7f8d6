package blob

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/lume-data/lume/connector"
)

// rejects writes the rejects of the run as JSON lines; no object if there are none.
func (a *attempt) rejects(ctx context.Context) ([]dataObject, error) {
	list, err := a.load.Rejects()
	if err != nil {
		return nil, err
	}
	defer list.Close()
	parts := partWriter[*rejectEncoder]{a: a, dir: rejectedDir, ending: "jsonl", open: func(w io.Writer) (*rejectEncoder, error) {
		return &rejectEncoder{w: w, runID: a.load.RunID}, nil
	}}
	defer parts.abort()
	for {
		r, err := list.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if err := parts.begin(ctx); err != nil {
			return nil, err
		}
		if err := parts.encoder.add(r); err != nil {
			return nil, err
		}
		if err := parts.endIfFull(); err != nil {
			return nil, err
		}
	}
	if err := parts.end(); err != nil {
		return nil, err
	}
	return parts.objects, nil
}

// flushBytes is how much text of rejects is collected before it is given on.
const flushBytes = 256 << 10

// rejectEncoder writes one reject per line.
type rejectEncoder struct {
	w     io.Writer
	runID string
	text  []byte
	lines int64
	doc   bytes.Buffer
}

func (e *rejectEncoder) flush() error {
	_, err := e.w.Write(e.text)
	e.text = e.text[:0]
	return err
}

func (e *rejectEncoder) rows() int64           { return e.lines }
func (e *rejectEncoder) buffered() int64       { return int64(len(e.text)) }
func (e *rejectEncoder) close() (int64, error) { return e.lines, e.flush() }

func (e *rejectEncoder) add(r connector.Reject) error {
	e.member(`{"run_id":`, e.runID)
	e.number(`,"_row":`, r.Row)
	if r.File == "" {
		e.text = append(e.text, `,"file":null`...)
	} else {
		e.member(`,"file":`, r.File)
	}
	e.number(`,"line":`, r.Line)
	e.number(`,"byte":`, r.Byte)
	e.member(`,"stage":`, r.Stage)
	e.document(`,"errors":`, r.Errors)
	e.document(`,"record":`, r.Record)
	if r.Raw == nil {
		e.text = append(e.text, `,"raw":null`...)
	} else {
		e.text = append(e.text, `,"raw":"`...)
		e.text = append(base64.StdEncoding.AppendEncode(e.text, r.Raw), '"')
	}
	e.text = append(e.text, "}\n"...)
	if e.lines++; len(e.text) < flushBytes {
		return nil
	}
	return e.flush()
}

// member appends a string; what is not UTF-8 in it becomes U+FFFD, as its bytes are in raw.
func (e *rejectEncoder) member(name, value string) {
	e.text = append(e.text, name...)
	e.text, _ = appendJSONString(e.text, strings.ToValidUTF8(value, "\uFFFD"))
}

func (e *rejectEncoder) number(name string, value int64) {
	e.text = append(e.text, name...)
	if value < 0 {
		e.text = append(e.text, "null"...)
		return
	}
	e.text = strconv.AppendInt(e.text, value, 10)
}

// document appends JSON text as it is, but on one line; other text as a string.
func (e *rejectEncoder) document(name, value string) {
	e.doc.Reset()
	switch {
	case value == "":
		e.text = append(append(e.text, name...), "null"...)
	case json.Compact(&e.doc, []byte(value)) != nil:
		e.member(name, value)
	default:
		e.text = append(append(e.text, name...), bytes.ToValidUTF8(e.doc.Bytes(), []byte("\uFFFD"))...)
	}
}
