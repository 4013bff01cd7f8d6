package blob

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"strconv"

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
		return &rejectEncoder{textBuffer: textBuffer{w: w}, runID: a.load.RunID}, nil
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

// rejectEncoder writes one reject per line.
type rejectEncoder struct {
	textBuffer
	runID string
	doc   bytes.Buffer
}

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
	return e.line()
}

// member appends a string; what is not UTF-8 in it becomes U+FFFD, as its bytes are in raw.
func (e *rejectEncoder) member(name, value string) {
	e.text = append(e.text, name...)
	e.text, _ = appendJSONString(e.text, bytes.ToValidUTF8([]byte(value), []byte("\uFFFD")))
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
