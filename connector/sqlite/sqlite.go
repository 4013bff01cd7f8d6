package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	_ "modernc.org/sqlite" // The driver "sqlite".

	"github.com/lume-data/lume/connector"
)

// busyTimeout is how long an operation waits for another one's lock on the file.
const busyTimeout = 30 * time.Second

var spec = connector.Spec{
	Type: "sqlite", Title: "SQLite", Source: true, Target: true, Query: &syntax,
	Doc: "A SQLite database file on the machine that runs ingest and egress. The file must lie below one of the roots that the " +
		"operator allows (`--root`), and is created by the first load.",
	Fields: []connector.Field{
		{Name: "path", Type: connector.String, Required: true, Address: true, Doc: "Absolute path of the database file.", Example: "/srv/lume/warehouse.db"},
	},
}

// Definition declares the connector.
func Definition() connector.Definition { return connector.Definition{Spec: spec, Open: open} }

// Connector is a link to one database file. Every operation opens the file for itself.
type Connector struct {
	// root is the allowed folder, and name the file's path below it.
	root, name string
	log        *slog.Logger
}

var (
	_ connector.Target     = (*Connector)(nil)
	_ connector.RowSource  = (*Connector)(nil)
	_ connector.Discoverer = (*Connector)(nil)
)

func open(_ context.Context, env connector.Env, cfg connector.Config) (connector.Connector, error) {
	path := cfg.Text("path")
	if !filepath.IsAbs(path) || strings.ContainsRune(path, 0) || strings.HasSuffix(path, "/") {
		return nil, &connector.Error{Kind: connector.KindInvalid, Reason: "INVALID_CONNECTOR_SETTING",
			Message: "path must be the absolute path of a file", Meta: map[string]string{"field": "path"}}
	}
	path = filepath.Clean(path)
	for _, root := range env.Roots {
		if !filepath.IsAbs(root) {
			continue
		}
		if rel, err := filepath.Rel(filepath.Clean(root), path); err == nil && filepath.IsLocal(rel) && rel != "." {
			return &Connector{root: filepath.Clean(root), name: rel, log: env.Log}, nil
		}
	}
	return nil, &connector.Error{Kind: connector.KindPermission, Reason: "ROOT_NOT_ALLOWED",
		Message: "the file " + path + " is not below a root that the operator of this installation allows",
		Next:    "choose a file below an allowed root, or start ingest and egress with --root for its folder",
		Meta:    map[string]string{"path": path}}
}

// Close implements connector.Connector. There is nothing to close: operations own their connections.
func (c *Connector) Close() error { return nil }

// session is one connection to the file.
type session struct {
	*sql.Conn
	db *sql.DB
}

func (s *session) close() {
	_ = s.Close()
	_ = s.db.Close()
}

// access says what an operation does with the file.
type access string

const (
	readOnly  access = "ro"
	readWrite access = "rw"
	// create makes a file that is missing.
	create access = "rwc"
)

// connect opens the file.
func (c *Connector) connect(ctx context.Context, how access) (*session, error) {
	if err := c.confine(how); err != nil {
		return nil, err
	}
	query := url.Values{"mode": {string(how)}, "_pragma": {
		"busy_timeout(" + durationMillis(busyTimeout) + ")", "foreign_keys(1)", "trusted_schema(0)",
	}}
	if how == readOnly {
		query.Add("_pragma", "query_only(1)")
	}
	dsn := "file://" + (&url.URL{Path: filepath.Join(c.root, c.name)}).EscapedPath() + "?" + query.Encode()
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, coded(ctx, err)
	}
	conn, err := db.Conn(ctx)
	if err == nil {
		_, err = conn.ExecContext(ctx, "SELECT count(*) FROM sqlite_schema")
	}
	if err != nil {
		_ = db.Close()
		return nil, coded(ctx, err)
	}
	return &session{Conn: conn, db: db}, nil
}

// confine checks that the file, as it is on disk, lies inside the root: os.Root follows no link out of it.
func (c *Connector) confine(how access) error {
	root, err := os.OpenRoot(c.root)
	if err != nil {
		return &connector.Error{Kind: connector.KindNotFound, Reason: "ROOT_NOT_FOUND", Message: "the root of the connector cannot be opened",
			Next: "create the folder, and let the service's user enter it", Cause: err}
	}
	defer root.Close()
	info, err := root.Stat(c.name)
	switch {
	case err == nil && info.Mode().IsRegular():
		return nil
	case err == nil:
		return &connector.Error{Kind: connector.KindConflict, Reason: "NOT_A_FILE", Message: "the path is not a file"}
	case errors.Is(err, fs.ErrNotExist) && how != create:
		return &connector.Error{Kind: connector.KindNotFound, Reason: "DATABASE_NOT_FOUND", Message: "the database file does not exist",
			Next: "check path of the connector; a flow whose target says `create: true` creates the file with its first load"}
	case errors.Is(err, fs.ErrNotExist):
		// Only a name that os.Root can create is one that SQLite may create.
		file, err := root.OpenFile(c.name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return pathError(err)
		}
		return file.Close()
	}
	return pathError(err)
}

func pathError(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &connector.Error{Kind: connector.KindNotFound, Reason: "FOLDER_NOT_FOUND", Message: "the folder of the database file does not exist",
			Next: "create the folder", Cause: err}
	}
	return &connector.Error{Kind: connector.KindPermission, Reason: "PATH_NOT_ALLOWED",
		Message: "the database file cannot be opened inside the root", Next: "check the file's permissions, and that no link leads out of the root", Cause: err}
}
