package file

import (
	"context"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/blob"
)

var spec = connector.Spec{
	Type:  "file",
	Title: "Files",
	Doc: "Files in a folder of the machine that runs ingest and egress. Batches are named by URIs such as " +
		"`file:///srv/batches/in/batch-001.csv`; characters that URIs reserve are percent-encoded in them. The folder must lie below " +
		"one of the roots that the operator allows (`--root`), and links that lead out of it are not followed.",
	Source: true, Target: true, ObjectStore: true,
	Fields: []connector.Field{
		{Name: "root", Type: connector.String, Required: true, Address: true,
			Doc: "Absolute path of the folder. It must exist.", Example: "/srv/batches"},
		{Name: "prefix", Type: connector.String, Doc: "Confines the connector to a folder inside the root.", Example: "invoices"},
		{Name: "read_only", Type: connector.Boolean, Default: "false",
			Doc: "The connector is a source alone: nothing is ever written, not even by a test."},
	},
}

// Definition is the line for the registry.
func Definition() connector.Definition { return connector.Definition{Spec: spec, Open: open} }

func open(_ context.Context, env connector.Env, cfg connector.Config) (connector.Connector, error) {
	root := cfg.Text("root")
	if !filepath.IsAbs(root) || strings.ContainsRune(root, 0) {
		return nil, invalid("root", "must be an absolute path")
	}
	root = filepath.Clean(root)
	prefix, ok := blob.CleanPrefix(cfg.Text("prefix"))
	if !ok {
		return nil, invalid("prefix", "must be a path inside the root, without . or .. in it")
	}
	allowed, within, ok := allowedRoot(env.Roots, root)
	if !ok {
		return nil, outsideRoots(root)
	}
	store := newStore(allowed, within)
	return blob.New(blob.Options{
		Store: store, Location: location(root, prefix), ReadOnly: cfg.Bool("read_only"), Trusted: true, Log: env.Log,
		Steps: []blob.Step{{Name: "connect", Run: func(context.Context) error {
			_, err := store.folder()
			return err
		}}},
	}), nil
}

// allowedRoot returns the operator's root that a folder lies below, and the folder's path in it.
func allowedRoot(roots []string, folder string) (allowed, within string, ok bool) {
	for _, r := range roots {
		if !filepath.IsAbs(r) {
			continue
		}
		rel, err := filepath.Rel(filepath.Clean(r), folder)
		if err == nil && filepath.IsLocal(rel) {
			return filepath.Clean(r), rel, true
		}
	}
	return "", "", false
}

func outsideRoots(root string) error {
	return &connector.Error{
		Kind: connector.KindPermission, Reason: "ROOT_NOT_ALLOWED",
		Message: "the folder " + root + " is not below a root that the operator of this installation allows",
		Next:    "choose a folder below an allowed root, or start ingest and egress with --root for this one",
		Meta:    map[string]string{"root": root},
	}
}

func invalid(field, problem string) error {
	return &connector.Error{
		Kind: connector.KindInvalid, Reason: "INVALID_CONNECTOR_SETTING", Message: field + " " + problem,
		Meta: map[string]string{"field": field},
	}
}

// location maps file URIs (RFC 8089, percent-encoded) to keys below the root.
func location(root, prefix string) blob.Location {
	base := strings.TrimSuffix(filepath.ToSlash(root), "/") + "/"
	format := func(key string) string { return "file://" + (&url.URL{Path: base + key}).EscapedPath() }
	parse := func(path string) (string, error) {
		encoded, ok := strings.CutPrefix(path, "file://")
		if !ok {
			return "", blob.Outside(path, format(prefix))
		}
		encoded = strings.TrimPrefix(encoded, "localhost")
		decoded, err := url.PathUnescape(encoded)
		if err != nil {
			return "", blob.InvalidPath(path, "is not a well-formed URI", "write % as %25")
		}
		for strings.Contains(decoded, "//") {
			decoded = strings.ReplaceAll(decoded, "//", "/")
		}
		key, ok := strings.CutPrefix(decoded, base)
		if !ok {
			return "", blob.Outside(path, format(prefix))
		}
		return key, nil
	}
	return blob.Location{Prefix: prefix, Parse: parse, Format: format}
}
