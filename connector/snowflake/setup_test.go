package snowflake_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/snowflake"
	"github.com/lume-data/lume/connector/snowflake/snowflaketest"
)

// settings are those of a connector to a server of this machine.
func settings(url string) map[string]any {
	return map[string]any{
		"account": "acme", "host": url, "user": "LUME", "warehouse": "WH", "database": "DB", "schema": "PUBLIC", "role": "LOADER",
	}
}

// open opens a connector. Names of secrets come with their values.
func open(t testing.TB, settings map[string]any, secrets map[string]string) (*snowflake.Connector, error) {
	t.Helper()
	sealed := make(map[string]connector.Secret, len(secrets))
	for name, value := range secrets {
		sealed[name] = connector.NewSecret(value)
	}
	link, err := connector.NewRegistry(snowflake.Definition()).Open(t.Context(), connector.Env{Log: slog.New(slog.DiscardHandler)}, "snowflake", settings, sealed)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { require.NoError(t, link.Close()) })
	return link.(*snowflake.Connector), nil
}

// connect opens a connector to the fake, which accepts its password.
func connect(t testing.TB, s *snowflaketest.Server) *snowflake.Connector {
	t.Helper()
	link, err := open(t, settings(s.URL), map[string]string{"password": s.Password})
	require.NoError(t, err)
	return link
}

// coded requires a connector's error with a reason, and nothing of the server's text in what a client sees.
func coded(t testing.TB, err error, reason string) *connector.Error {
	t.Helper()
	var e *connector.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, reason, e.Reason, "%v: %v", e, e.Cause)
	require.NotContains(t, e.Error()+e.Next, "driver text")
	return e
}

// schemaAnswer answers what every session asks first.
func schemaAnswer(st snowflaketest.Statement) (snowflaketest.Answer, bool) {
	if st.SQL != "SELECT CURRENT_SCHEMA()" {
		return snowflaketest.Answer{}, false
	}
	return snowflaketest.Text([]string{"CURRENT_SCHEMA()"}, []string{"PUBLIC"}), true
}

// answers is a handler of a server: sessions start, and f answers everything else. A statement that is compiled only
// answers its columns.
func answers(f func(snowflaketest.Statement) snowflaketest.Answer) func(snowflaketest.Statement) snowflaketest.Answer {
	return func(st snowflaketest.Statement) snowflaketest.Answer {
		if a, ok := schemaAnswer(st); ok {
			return a
		}
		a := f(st)
		if st.Describe {
			a.Rows, a.Batches = nil, nil
		}
		return a
	}
}

// sentLike returns the statements that contain a text.
func sentLike(s *snowflaketest.Server, part string) (list []snowflaketest.Statement) {
	for _, st := range s.Statements() {
		if strings.Contains(st.SQL, part) {
			list = append(list, st)
		}
	}
	return list
}
