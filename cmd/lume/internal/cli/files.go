package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"buf.build/go/protovalidate"
	"buf.build/go/protoyaml"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lume-data/lume/internal/fault"
)

// document is a YAML or JSON file that holds one message.
type document struct {
	path string
	text []byte
	root *yaml.Node
}

// fileError is what is wrong with a file: one line per place.
type fileError struct {
	path  string
	lines []string
	next  string
}

func (e *fileError) Error() string {
	text := fmt.Sprintf("Error: %s is not valid\n  %s\n", e.path, strings.Join(e.lines, "\n  "))
	if e.next != "" {
		text += "Next: " + e.next + "\n"
	}
	return text
}

// documents reads files, `-` for standard input, and for a folder every .yaml, .yml and .json file in it by name.
func (a *app) documents(paths []string) ([]*document, error) {
	var docs []*document
	for _, path := range paths {
		files := []string{path}
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			if files, err = inFolder(path); err != nil {
				return nil, err
			}
		}
		for _, file := range files {
			doc, err := a.document(file)
			if err != nil {
				return nil, err
			}
			docs = append(docs, doc)
		}
	}
	if len(docs) == 0 {
		return nil, problemf("give a file by -f, or a folder with .yaml, .yml or .json files", "there is nothing to read")
	}
	return docs, nil
}

func inFolder(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(e.Name())) {
			files = append(files, filepath.Join(path, e.Name()))
		}
	}
	return files, nil
}

func (a *app) document(path string) (*document, error) {
	var (
		text []byte
		err  error
	)
	if path == "-" {
		path = "standard input"
		text, err = io.ReadAll(a.env.In)
	} else {
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, err
	}
	return parse(path, text)
}

// parse reads the text of a document; path is its name in errors.
func parse(path string, text []byte) (*document, error) {
	doc := &document{path: path, text: text, root: &yaml.Node{}}
	if err := yaml.Unmarshal(text, doc.root); err != nil {
		return nil, &fileError{path: path, lines: []string{strings.TrimPrefix(err.Error(), "yaml: ")}}
	}
	if doc.root.Kind != yaml.DocumentNode || len(doc.root.Content) != 1 || doc.root.Content[0].Kind != yaml.MappingNode {
		return nil, &fileError{path: path, lines: []string{path + ":1:1 must be one mapping of fields"}}
	}
	return doc, nil
}

// decode reads the document into a message; every error names its line and column.
func (d *document) decode(msg proto.Message) error {
	return d.read(msg, protoyaml.UnmarshalOptions{Path: d.path})
}

// decodeValid also checks the message against its constraints; every error names its line, column and field.
func (d *document) decodeValid(msg proto.Message) error {
	return d.read(msg, protoyaml.UnmarshalOptions{Path: d.path, Validator: constraints{}})
}

// constraints checks messages as the server does.
type constraints struct{}

// Validate implements protoyaml.Validator.
func (constraints) Validate(msg proto.Message) error { return protovalidate.Validate(msg) }

func (d *document) read(msg proto.Message, options protoyaml.UnmarshalOptions) error {
	err := options.Unmarshal(d.text, msg)
	if err == nil {
		return nil
	}
	return &fileError{path: d.path, lines: strings.Split(strings.TrimSpace(err.Error()), "\n")}
}

// locate gives a server's complaints about fields their places in the file. Other errors stay what they are.
func (d *document) locate(err error) error {
	if err == nil || !isStatus(err) {
		return err
	}
	f := fault.From(err)
	if len(f.Violations) == 0 {
		return err
	}
	e := &fileError{path: d.path, next: f.Next}
	for _, v := range f.Violations {
		line, column, field := d.find(v.Field)
		text := fmt.Sprintf("%s:%d:%d %s: %s", d.path, line, column, field, printable(v.Message))
		if v.Reason != "" {
			text += " (" + v.Reason + ")"
		}
		e.lines = append(e.lines, text)
	}
	return e
}

// find returns the place of a field such as `flow.spec.columns[2].from`, or of the closest field around it, and the
// field's path in the file.
func (d *document) find(field string) (line, column int, inFile string) {
	path := segments(field)
	node := d.root.Content[0]
	// The request's own layers around the file's content are not in the file.
	for len(path) > 0 && child(node, path[0]) == nil && slices.Contains([]string{"flow", "spec", "connector"}, path[0]) {
		path = path[1:]
	}
	place := node
	for i, segment := range path {
		next := child(node, segment)
		if next == nil && strings.HasPrefix(segment, "[") {
			// `column` instead of `columns` and the like: the index is about a list that the file does not have.
			break
		}
		if next == nil {
			if alt := alternative(node, path[i:]); alt != nil {
				place = alt
			}
			break
		}
		node, place = next, next
	}
	return place.Line, place.Column, strings.ReplaceAll(strings.Join(path, "."), ".[", "[")
}

// alternative finds `target` where the server says `targets[0]`: the file may use the short form.
func alternative(node *yaml.Node, rest []string) *yaml.Node {
	if len(rest) < 2 || rest[0] != "targets" || rest[1] != "[0]" {
		return nil
	}
	found := child(node, "target")
	for _, segment := range rest[2:] {
		next := child(found, segment)
		if next == nil {
			break
		}
		found = next
	}
	return found
}

// segments splits `a.b[2].c["x"]` into a, b, [2], c, x.
func segments(field string) []string {
	var path []string
	for _, part := range strings.Split(field, ".") {
		name, rest, indexed := strings.Cut(part, "[")
		if name != "" {
			path = append(path, name)
		}
		for indexed {
			var index string
			index, rest, _ = strings.Cut(rest, "]")
			if unquoted := strings.Trim(index, `"`); unquoted != index {
				path = append(path, unquoted)
			} else {
				path = append(path, "["+index+"]")
			}
			_, rest, indexed = strings.Cut(rest, "[")
		}
	}
	return path
}

// child returns the value of a key or the element of an index; nil if there is none.
func child(node *yaml.Node, segment string) *yaml.Node {
	if node == nil {
		return nil
	}
	switch node.Kind {
	case yaml.AliasNode:
		return child(node.Alias, segment)
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			if key := node.Content[i].Value; key == segment || key == camel(segment) {
				return node.Content[i+1]
			}
		}
	case yaml.SequenceNode:
		var index int
		if _, err := fmt.Sscanf(segment, "[%d]", &index); err == nil && index >= 0 && index < len(node.Content) {
			return node.Content[index]
		}
	}
	return nil
}

// camel is the other spelling that protobuf JSON allows for a field.
func camel(name string) string {
	words := strings.Split(name, "_")
	for i, w := range words[1:] {
		if w != "" {
			words[i+1] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	return strings.Join(words, "")
}
