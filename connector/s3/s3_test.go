package s3_test

import (
	"log/slog"
	"maps"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/connectortest"
	"github.com/lume-data/lume/connector/s3"
	"github.com/lume-data/lume/test/server"
)

func secrets(srv *server.S3) map[string]connector.Secret {
	set := map[string]connector.Secret{}
	for name, value := range srv.Secrets() {
		set[name] = connector.NewSecret(value)
	}
	return set
}

func open(t *testing.T, settings map[string]any, secrets map[string]connector.Secret) (connector.Connector, error) {
	t.Helper()
	env := connector.Env{Log: slog.New(slog.DiscardHandler)}
	c, err := connector.NewRegistry(s3.Definition()).Open(t.Context(), env, "s3", settings, secrets)
	if err == nil {
		t.Cleanup(func() { require.NoError(t, c.Close()) })
	}
	return c, err
}

func TestWrongSettingsAreRefusedWithoutShowingThem(t *testing.T) {
	t.Parallel()
	base := func(more map[string]any) map[string]any {
		s := map[string]any{"bucket": "b", "access_key_id": "k"}
		maps.Copy(s, more)
		return s
	}
	secret := map[string]connector.Secret{"secret_access_key": connector.NewSecret("canary")}
	connectortest.WrongSettings(t, map[string]connectortest.WrongSetting{
		"http off this machine":     {Settings: base(map[string]any{"endpoint": "http://minio.example.com"}), Secrets: secret, Field: "endpoint"},
		"password in the endpoint":  {Settings: base(map[string]any{"endpoint": "https://user:canary@minio.example.com"}), Secrets: secret, Field: "endpoint"},
		"broken endpoint":           {Settings: base(map[string]any{"endpoint": "https://user:canary@minio.example.com:port"}), Secrets: secret, Field: "endpoint"},
		"query in the endpoint":     {Settings: base(map[string]any{"endpoint": "https://minio.example.com?sig=canary"}), Secrets: secret, Field: "endpoint"},
		"another scheme":            {Settings: base(map[string]any{"endpoint": "file:///etc/passwd"}), Secrets: secret, Field: "endpoint"},
		"no secret":                 {Settings: base(nil), Field: "secret_access_key"},
		"no key":                    {Settings: map[string]any{"bucket": "b"}, Secrets: secret, Field: "access_key_id"},
		"own identity, other store": {Settings: map[string]any{"bucket": "b", "endpoint": "https://minio.example.com"}, Field: "access_key_id"},
		"own identity, other sts":   {Settings: map[string]any{"bucket": "b", "sts_endpoint": "https://sts.example.com"}, Field: "access_key_id"},
		"a path as bucket":          {Settings: map[string]any{"bucket": "b/../c"}, Field: "bucket"},
		"dots in the prefix":        {Settings: base(map[string]any{"prefix": "a/../b"}), Secrets: secret, Field: "prefix"},
	}, open)
	_, err := open(t, base(map[string]any{"endpoint": "http://minio.example.com", "insecure_endpoint": true}), secret)
	require.NoError(t, err)
}
