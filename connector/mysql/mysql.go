package mysql

import (
	"context"
	"database/sql"
	"net"
	"strconv"
	"strings"

	driver "github.com/go-sql-driver/mysql"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/dial"
)

var spec = connector.Spec{
	Type: "mysql", Title: "MySQL and MariaDB", Source: true, Target: true, Query: &syntax,
	Doc: "Reads the rows of a query, and loads InnoDB tables by LOAD DATA LOCAL in one transaction. Works with MySQL 8.0.19 and later " +
		"and with MariaDB 10.4 and later. As a target, the server must have `local_infile` on; the connector sends nothing but the " +
		"rows of its loads, whatever the server asks for.",
	Fields: append([]connector.Field{
		{Name: "host", Type: connector.String, Required: true, Address: true, Doc: "Name or address of the server.", Example: "db.example.com"},
		{Name: "port", Type: connector.Integer, Default: "3306", Address: true, Doc: "Port of the server."},
		{Name: "database", Type: connector.String, Required: true, Doc: "Database of tables that are written without one.", Example: "warehouse"},
		{Name: "user", Type: connector.String, Required: true, Doc: "User to log in as.", Example: "lume"},
		{Name: "password", Type: connector.Sensitive, Doc: "Password of the user. Not needed with a client certificate."},
	}, dial.TLSFields()...),
}

// Definition declares the connector.
func Definition() connector.Definition { return connector.Definition{Spec: spec, Open: open} }

// Connector is a link to one server. Every operation opens a connection of its own.
type Connector struct {
	db *sql.DB
	// database is where tables without one are.
	database string
}

var (
	_ connector.Target     = (*Connector)(nil)
	_ connector.RowSource  = (*Connector)(nil)
	_ connector.Discoverer = (*Connector)(nil)
)

// sessionSettings hold in every session, whatever the server's defaults are. What a lexer must know of SQL (ANSI_QUOTES,
// NO_BACKSLASH_ESCAPES) is off; what would change a value in silence is an error; 0 is no request for a new number.
var sessionSettings = map[string]string{
	"sql_mode":  "'STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION,NO_AUTO_VALUE_ON_ZERO'",
	"time_zone": "'+00:00'",
	// Notes count as warnings: a note is how a cut blank is told.
	"sql_notes":        "1",
	"autocommit":       "1",
	"sql_safe_updates": "0",
	"sql_select_limit": "18446744073709551615",
	// Seconds that a load waits for another one that holds the table or the run's marker.
	"lock_wait_timeout":        "30",
	"innodb_lock_wait_timeout": "30",
	// Seconds that the server waits for the next rows, for a reader that is slow, and for the next statement. The last is longer
	// than any pause between two statements; then a load whose worker is gone is rolled back.
	"net_read_timeout":  "300",
	"net_write_timeout": "600",
	"wait_timeout":      "300",
}

func open(_ context.Context, _ connector.Env, cfg connector.Config) (connector.Connector, error) {
	host, port, database := cfg.Text("host"), cfg.Int("port"), cfg.Text("database")
	if strings.HasPrefix(host, "/") || strings.ContainsAny(host, ", \x00") {
		return nil, dial.InvalidSetting("host", "must be one name or address")
	}
	if port < 1 || port > 65535 {
		return nil, dial.InvalidSetting("port", "must be between 1 and 65535")
	}
	config := driver.NewConfig()
	config.Net, config.Addr = "tcp", net.JoinHostPort(host, strconv.FormatInt(port, 10))
	config.DBName, config.User, config.Passwd = database, cfg.Text("user"), cfg.Secret("password").Reveal()
	tls, err := dial.TLS(host, cfg)
	if err != nil {
		return nil, err
	}
	config.TLS, config.Timeout = tls, dial.Timeout
	dialer := dial.Dialer()
	config.DialFunc = dialer.DialContext
	config.Params = sessionSettings
	config.ConnectionAttributes = "program_name:lume"
	// The connector's own statements are text; a user's query is prepared, and its parameters never become part of it.
	config.InterpolateParams = true
	config.Logger = &driver.NopLogger{}
	if err := config.Apply(driver.Charset("utf8mb4", "utf8mb4_general_ci")); err != nil {
		return nil, err
	}
	made, err := driver.NewConnector(config)
	if err != nil {
		return nil, &connector.Error{Kind: connector.KindInternal, Reason: "CONNECTOR_FAULT", Message: "the driver refuses the settings", Cause: err}
	}
	db := sql.OpenDB(made)
	// A connection ends with its operation.
	db.SetMaxIdleConns(-1)
	return &Connector{db: db, database: database}, nil
}

// Close implements connector.Connector.
func (c *Connector) Close() error { return c.db.Close() }
