package postgres

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/dial"
)

// closeTimeout bounds the goodbye to a server that does not answer.
const closeTimeout = 5 * time.Second

var spec = connector.Spec{
	Type: "postgres", Title: "PostgreSQL", Source: true, Target: true, Query: &syntax,
	Doc: "Reads the rows of a query, and loads tables by binary COPY in one transaction. Works with PostgreSQL 12 and later.",
	Fields: append([]connector.Field{
		{Name: "host", Type: connector.String, Required: true, Address: true, Doc: "Name or address of the server.", Example: "db.example.com"},
		{Name: "port", Type: connector.Integer, Default: "5432", Address: true, Doc: "Port of the server."},
		{Name: "database", Type: connector.String, Required: true, Doc: "Name of the database.", Example: "warehouse"},
		{Name: "user", Type: connector.String, Required: true, Doc: "Role to log in as.", Example: "lume"},
		{Name: "password", Type: connector.Sensitive, Doc: "Password of the role. Not needed with a client certificate."},
	}, dial.TLSFields()...),
}

// Definition declares the connector.
func Definition() connector.Definition { return connector.Definition{Spec: spec, Open: open} }

// Connector is a link to one PostgreSQL database. Every operation opens a connection of its own.
type Connector struct {
	config *pgx.ConnConfig
	log    *slog.Logger
}

var (
	_ connector.Target     = (*Connector)(nil)
	_ connector.RowSource  = (*Connector)(nil)
	_ connector.Discoverer = (*Connector)(nil)
)

func open(_ context.Context, env connector.Env, cfg connector.Config) (connector.Connector, error) {
	host, port := cfg.Text("host"), cfg.Int("port")
	if strings.HasPrefix(host, "/") || strings.ContainsAny(host, ", \x00") {
		return nil, dial.InvalidSetting("host", "must be one name or address")
	}
	if port < 1 || port > 65535 {
		return nil, dial.InvalidSetting("port", "must be between 1 and 65535")
	}
	// Everything that the environment or files could add is set below.
	config, err := pgx.ParseConfig("host=localhost user=lume dbname=lume password=none sslmode=disable")
	if err != nil {
		return nil, &connector.Error{Kind: connector.KindInternal, Reason: "CONNECTOR_FAULT", Message: "the environment of the service disturbs the driver", Cause: err}
	}
	config.Host, config.Port, config.Fallbacks = host, uint16(port), nil
	config.Database, config.User, config.Password = cfg.Text("database"), cfg.Text("user"), cfg.Secret("password").Reveal()
	if config.TLSConfig, err = dial.TLS(host, cfg); err != nil {
		return nil, err
	}
	config.ConnectTimeout = dial.Timeout
	config.DialFunc = dial.Dialer().DialContext
	config.RuntimeParams = map[string]string{
		"TimeZone": "UTC", "DateStyle": "ISO, YMD", "client_encoding": "UTF8", "standard_conforming_strings": "on",
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	// The server is asked to stop what it does before the connection is given up.
	config.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: 2 * time.Second}
	}
	return &Connector{config: config, log: env.Log}, nil
}

// connect opens a connection under an application name.
func (c *Connector) connect(ctx context.Context, application string) (*pgx.Conn, error) {
	config := c.config.Copy()
	config.RuntimeParams["application_name"] = application
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, connectError(ctx, err)
	}
	return conn, nil
}

// closeConn says goodbye, also after ctx has ended.
func closeConn(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	_ = conn.Close(ctx)
}

// Close implements connector.Connector. There is nothing to close: operations own their connections.
func (c *Connector) Close() error { return nil }
