package flow

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
)

// normalise returns the spec as a version holds it: one target in `target`, with its name.
func normalise(spec *flowv1.Flow) *flowv1.Flow {
	out := proto.CloneOf(spec)
	if len(out.GetTargets()) == 1 && out.GetTarget() == nil {
		out.Target, out.Targets = out.GetTargets()[0], nil
	}
	for _, t := range append(out.GetTargets(), out.GetTarget()) {
		if t != nil {
			t.Name = targetName(t)
		}
	}
	return out
}

// digest is the content address of a version: SHA-256 over the canonical JSON of its spec and the compiler and engine
// that checked it.
func digest(spec *flowv1.Flow, engine string) (string, error) {
	text, err := canonical(spec)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(append(append(text, '\n'), engine...))
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

// canonical returns JSON with proto field names, sorted keys, no space and no default values: one text for one meaning.
// protojson alone does not promise the same bytes twice.
func canonical(spec *flowv1.Flow) ([]byte, error) {
	loose, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("write a flow as JSON: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(loose))
	decoder.UseNumber()
	var tree any
	if err := decoder.Decode(&tree); err != nil {
		return nil, fmt.Errorf("read a flow as JSON: %w", err)
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(tree); err != nil {
		return nil, fmt.Errorf("write a flow as canonical JSON: %w", err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}
