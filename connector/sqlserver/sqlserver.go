package sqlserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/microsoft/go-mssqldb/msdsn"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// Ways to encrypt a link.
const (
	encryptStrict  = "strict"
	encryptTrue    = "true"
	encryptDisable = "disable"
)

const (
	connectTimeout = 15 * time.Second
	// lockTimeout is how long a statement waits for a lock that another session holds.
	lockTimeout = 30 * time.Second
	// packetSize is the largest that an encrypted link can have.
	packetSize = 16383
	// maxName is how many units of UTF-16 a name can have.
	maxName = 128
)

var spec = connector.Spec{
	Type: "sqlserver", Title: "SQL Server", Source: true, Target: true, Query: &syntax,
	Doc: "Reads the rows of a query, and loads tables by bulk copy in one transaction. Works with SQL Server 2016 and later and Azure SQL, by SQL Server authentication.",
	Fields: []connector.Field{
		{Name: "host", Type: connector.String, Required: true, Address: true, Doc: "Name or address of the server.", Example: "db.example.com"},
		{Name: "port", Type: connector.Integer, Default: "1433", Address: true, Doc: "Port of the server."},
		{Name: "instance", Type: connector.String, Address: true,
			Doc: "Named instance. The SQL Server Browser of the host (UDP 1434) is asked for its port, and `port` is not used."},
		{Name: "database", Type: connector.String, Required: true, Doc: "Name of the database.", Example: "warehouse"},
		{Name: "user", Type: connector.String, Required: true, Doc: "Login name.", Example: "lume"},
		{Name: "password", Type: connector.Sensitive, Required: true, Doc: "Password of the login."},
		{Name: "encrypt", Type: connector.Enum, Default: encryptTrue, Address: true, Values: []string{encryptStrict, encryptTrue, encryptDisable},
			Doc: "`true` encrypts and checks the server's certificate and name; `strict` is TDS 8.0, with TLS from the first byte (SQL Server 2022 and " +
				"later); `disable` sends everything in the clear."},
		{Name: "ca_certificate", Type: connector.String, Doc: "Certificates (PEM) that the server's must be signed by. Default: those of the system."},
		{Name: "trust_server_certificate", Type: connector.Boolean, Default: "false", Address: true,
			Doc: "Encrypt, but check nothing: anybody in between can read the password. Not with `strict`."},
		{Name: "schema", Type: connector.String, Default: "dbo", Doc: "Schema of tables that a flow names without one."},
	},
}

// Definition declares the connector.
func Definition() connector.Definition { return connector.Definition{Spec: spec, Open: open} }

// Connector is a link to one database. Every operation opens a connection of its own.
type Connector struct {
	// config has the password in it. A pointer is not followed where a connector is printed.
	config *msdsn.Config
	schema string
}

var (
	_ connector.Target     = (*Connector)(nil)
	_ connector.RowSource  = (*Connector)(nil)
	_ connector.Discoverer = (*Connector)(nil)
)

func open(_ context.Context, _ connector.Env, cfg connector.Config) (connector.Connector, error) {
	host, port, encrypt := cfg.Text("host"), cfg.Int("port"), cfg.Text("encrypt")
	switch {
	case host == "" || strings.ContainsAny(host, "/\\,; \x00"):
		return nil, invalidSetting("host", "must be one name or address")
	case port < 1 || port > 65535:
		return nil, invalidSetting("port", "must be between 1 and 65535")
	case encrypt == encryptStrict && cfg.Bool("trust_server_certificate"):
		return nil, invalidSetting("trust_server_certificate", "is not possible with encrypt: strict")
	case cfg.Text("schema") == "":
		return nil, invalidSetting("schema", "must not be empty")
	}
	// What the driver reads from text is only what cannot go wrong; everything of the user is set below.
	config, err := msdsn.Parse((&url.URL{Scheme: "sqlserver", Host: "localhost", RawQuery: url.Values{"encrypt": {encrypt}}.Encode()}).String())
	if err != nil {
		return nil, &connector.Error{Kind: connector.KindInternal, Reason: "CONNECTOR_FAULT", Message: "the driver does not take its settings", Cause: err}
	}
	config.Host, config.Port = host, uint64(port)
	if config.Instance = cfg.Text("instance"); config.Instance != "" {
		config.Port = 0
	}
	config.Database, config.User, config.Password = cfg.Text("database"), cfg.Text("user"), cfg.Secret("password").Reveal()
	config.PacketSize, config.DialTimeout, config.DisableRetry = packetSize, connectTimeout, true
	config.Encoding.Timezone = time.UTC
	if config.TLSConfig, err = tlsConfig(host, encrypt, cfg); err != nil {
		return nil, err
	}
	return &Connector{config: &config, schema: cfg.Text("schema")}, nil
}

func invalidSetting(field, message string) error {
	return &connector.Error{Kind: connector.KindInvalid, Reason: "INVALID_CONNECTOR_SETTING", Message: field + " " + message,
		Next: "change " + field + " of the connector", Meta: map[string]string{"field": field}}
}

func tlsConfig(host, encrypt string, cfg connector.Config) (*tls.Config, error) {
	if encrypt == encryptDisable {
		return nil, nil
	}
	// The server expects one TLS record for each of its packets, which dynamic sizes would break up.
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, DynamicRecordSizingDisabled: true}
	if pem := cfg.Text("ca_certificate"); pem != "" {
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM([]byte(pem)) {
			return nil, invalidSetting("ca_certificate", "holds no certificate in PEM")
		}
	}
	t.InsecureSkipVerify = cfg.Bool("trust_server_certificate")
	return t, nil
}

// Close implements connector.Connector. There is nothing to close: operations own their connections.
func (c *Connector) Close() error { return nil }

// dialect is how SQL Server writes what a load needs. Keys of the bookkeeping are compared by code point; they stay below
// the 900 bytes of a clustered key.
var dialect = sqlload.Dialect{
	Quote: quote,
	Param: param,
	Type:  typeName,
	Now:   "SYSUTCDATETIME()",
	Text:  "nvarchar(200) COLLATE " + keyCollation, LongText: "nvarchar(max)", BigInt: "bigint", JSON: "nvarchar(max)",
	Bytes: "varbinary(max)", Instant: "datetime2(6)",
	Create:    createTable,
	InsertNew: insertNew,
}

// keyCollation compares text by code point, without locale, case or accents.
const keyCollation = "Latin1_General_100_BIN2"

// quote quotes one name.
func quote(name string) string { return "[" + strings.ReplaceAll(name, "]", "]]") + "]" }

// param writes the n-th parameter, as the driver names it.
func param(n int) string { return "@p" + strconv.Itoa(n) }

// literal writes a string.
func literal(text string) string { return "N'" + strings.ReplaceAll(text, "'", "''") + "'" }

func createTable(table, lines string) string {
	return "IF OBJECT_ID(" + literal(table) + ", N'U') IS NULL CREATE TABLE " + table + " (\n  " + lines + "\n)"
}

// insertNew relies on keys being the first parameters. It locks no range, which would make the loads of other runs wait. So a
// row that another session inserts meanwhile is a violation of the primary key, once that session has committed; see
// keyTaken.
func insertNew(table, names, values string, keys []string) string {
	where := make([]string, len(keys))
	for i, key := range keys {
		where[i] = quote(key) + " = " + param(i+1)
	}
	return "INSERT INTO " + table + " (" + names + ") SELECT " + values + " WHERE NOT EXISTS (SELECT 1 FROM " + table + " WHERE " + strings.Join(where, " AND ") + ")"
}
