package snowflake

import (
	"context"
	"crypto/rsa"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	sf "github.com/snowflakedb/gosnowflake"

	"github.com/lume-data/lume/connector"
)

const (
	// loginTimeout and requestTimeout bound how long the driver tries again to log in and to send a statement; a statement
	// that the server has taken may run for longer.
	loginTimeout   = 30 * time.Second
	requestTimeout = 5 * time.Minute
	// lockTimeout is how long a load waits for another one that holds the fence row.
	lockTimeout = 60 * time.Second
)

var spec = connector.Spec{
	Type: "snowflake", Title: "Snowflake", Source: true, Target: true, Query: &syntax,
	Doc: "Reads the rows of a query as Arrow batches, and loads tables from Parquet files in the user's stage in one transaction. " +
		"The user authenticates by a key pair, or by a password or programmatic access token.",
	Fields: []connector.Field{
		{Name: "account", Type: connector.String, Required: true, Address: true, Doc: "Account identifier.", Example: "MYORG-MYACCOUNT"},
		{Name: "host", Type: connector.String, Address: true, Doc: "Host, and port after a colon, in place of `<account>.snowflakecomputing.com`, " +
			"as for a private link. `http://` before it is accepted for an address of this machine only.", Example: "myorg-myaccount.privatelink.snowflakecomputing.com"},
		{Name: "user", Type: connector.String, Required: true, Doc: "User to log in as.", Example: "LUME"},
		{Name: "private_key", Type: connector.Sensitive, Doc: "RSA key (PEM, PKCS #8, encrypted or not) whose public half the user has."},
		{Name: "private_key_passphrase", Type: connector.Sensitive, Doc: "Passphrase of an encrypted `private_key`."},
		{Name: "password", Type: connector.Sensitive, Doc: "Password or programmatic access token of the user, if there is no key."},
		{Name: "warehouse", Type: connector.String, Required: true, Doc: "Warehouse that runs the statements.", Example: "LOAD_WH"},
		{Name: "database", Type: connector.String, Required: true, Doc: "Database of the session.", Example: "ANALYTICS"},
		{Name: "schema", Type: connector.String, Default: "PUBLIC", Doc: "Schema of tables that are named without one."},
		{Name: "role", Type: connector.String, Doc: "Role of the session. Default: that of the user.", Example: "LOADER"},
	},
}

// Definition declares the connector.
func Definition() connector.Definition { return connector.Definition{Spec: spec, Open: open} }

// Connector is a link to one database of an account. Every operation logs in for itself and logs out at its end.
type Connector struct {
	// config has the password in it. A pointer is not followed where a connector is printed.
	config *sf.Config
	log    *slog.Logger
}

var (
	_ connector.Target     = (*Connector)(nil)
	_ connector.RowSource  = (*Connector)(nil)
	_ connector.Discoverer = (*Connector)(nil)
)

// quieten keeps the driver from what it does for the whole process unless told otherwise: it would ask for the metadata service of
// the machine's cloud when it first connects, and takes no for an answer from the environment only; its log would show statements
// and values.
var quieten = sync.OnceFunc(func() {
	_ = os.Setenv("SNOWFLAKE_DISABLE_PLATFORM_DETECTION", "true")
	_ = sf.GetLogger().SetLogLevel("OFF")
	sf.GetLogger().SetOutput(io.Discard)
})

func open(_ context.Context, env connector.Env, cfg connector.Config) (connector.Connector, error) {
	quieten()
	config := sf.Config{
		Account: cfg.Text("account"), User: cfg.Text("user"), Warehouse: cfg.Text("warehouse"), Database: cfg.Text("database"),
		Schema: cfg.Text("schema"), Role: cfg.Text("role"), Application: "lume", Authenticator: sf.AuthTypeSnowflake,
		LoginTimeout: loginTimeout, RequestTimeout: requestTimeout, //nolint:staticcheck // Deprecated without a successor, and unbounded by default.
	}
	for _, name := range []string{"account", "user", "warehouse", "database", "schema", "role"} {
		if strings.ContainsRune(cfg.Text(name), 0) {
			return nil, invalidSetting(name, "must be text")
		}
	}
	if err := address(&config, cfg.Text("host")); err != nil {
		return nil, err
	}
	key, err := privateKey(cfg)
	switch {
	case err != nil:
		return nil, err
	case key != nil:
		config.Authenticator, config.PrivateKey = sf.AuthTypeJwt, key
	case cfg.Secret("password").IsSet():
		config.Password = cfg.Secret("password").Reveal()
	default:
		return nil, invalidSetting("private_key", "or password must be set")
	}
	return &Connector{config: &config, log: env.Log}, nil
}

// privateKey returns the key of the configuration, or nil if there is none.
func privateKey(cfg connector.Config) (*rsa.PrivateKey, error) {
	if !cfg.Secret("private_key").IsSet() {
		return nil, nil
	}
	key, err := parseKey(cfg.Secret("private_key").Reveal(), cfg.Secret("private_key_passphrase").Reveal())
	if err != nil {
		return nil, invalidSetting("private_key", err.Error())
	}
	return key, nil
}

// address sets where the account is. Accounts are hosts of their own below one domain.
func address(config *sf.Config, host string) error {
	config.Protocol, config.Port = "https", 443
	if host == "" {
		if strings.ContainsAny(config.Account, "/:@?# ") {
			return invalidSetting("account", "must be an account identifier, such as MYORG-MYACCOUNT")
		}
		config.Host = strings.ReplaceAll(config.Account, "_", "-") + ".snowflakecomputing.com"
		return nil
	}
	if rest, ok := strings.CutPrefix(host, "http://"); ok {
		config.Protocol, config.Port, host = "http", 80, rest
	}
	u, err := url.Parse("//" + host)
	if err != nil || u.Hostname() == "" || u.Host != host {
		return invalidSetting("host", "must be a name or address, with a port after a colon if it is not 443")
	}
	config.Host = u.Hostname()
	if u.Port() != "" {
		if config.Port, err = strconv.Atoi(u.Port()); err != nil || config.Port < 1 || config.Port > 65535 {
			return invalidSetting("host", "must have a port between 1 and 65535")
		}
	}
	if config.Protocol == "http" && !net.ParseIP(config.Host).IsLoopback() {
		return invalidSetting("host", "may be reached by http:// only if it is a loopback address")
	}
	return nil
}

func invalidSetting(field, message string) error {
	return &connector.Error{Kind: connector.KindInvalid, Reason: "INVALID_CONNECTOR_SETTING", Message: field + " " + message,
		Next: "correct the connector's " + field, Meta: map[string]string{"field": field}}
}

// Close implements connector.Connector. There is nothing to close: operations own their sessions.
func (c *Connector) Close() error { return nil }
