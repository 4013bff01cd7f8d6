package control_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/rpcclient"
)

// canary has characters that each encoding changes.
const canary = "CANARY/hunter2+ää?&=%\"é'"

// forms are what a secret could leak as.
func forms(secret string) map[string]string {
	return map[string]string{
		"raw": secret, "query": url.QueryEscape(secret), "path": url.PathEscape(secret), "hex": hex.EncodeToString([]byte(secret)),
		"base64": base64.RawStdEncoding.EncodeToString([]byte(secret)), "base64url": base64.RawURLEncoding.EncodeToString([]byte(secret)),
		"part": secret[:14],
	}
}

func TestNoSecretIsFoundInAnythingThatControlWritesOrAnswers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var answers strings.Builder
	rest := func(method, path, body string) {
		code, text := b.rest(t, method, path, body)
		answers.WriteString(text)
		_ = code // Failures are part of the test: they must not leak either.
	}
	b.createConnector(t, "inbox", "bucket", `{"bucket":"in"}`, map[string]string{"secret_key": canary})
	b.createConnector(t, "warehouse", "db", `{"host":"h"}`, map[string]string{"password": canary})

	// Reads, updates and requests that fail in every layer, with the canary in them.
	quoted := strings.ReplaceAll(canary, `"`, `\"`)
	rest("GET", "/v1/connectors", "")
	rest("GET", "/v1/connectors/inbox", "")
	rest("PATCH", "/v1/connectors/inbox", `{"secrets":{"secret_key":"`+quoted+`"}}`)
	rest("PATCH", "/v1/connectors/inbox", `{"settings":{"bucket":"elsewhere"}}`)
	rest("POST", "/v1/connectors?connector_id=x", `{"type":"db","secrets":{"passwort":"`+quoted+`"}}`)
	rest("POST", "/v1/connectors?connector_id=x", `{"type":"db","secrets":["`+quoted+`"]}`)
	rest("POST", "/v1/connectors?connector_id=x", `{"type":"db","secret":"`+quoted+`"}`)
	rest("POST", "/v1/connectors?connector_id=x", `{"secrets":{"password":"`+quoted+`"`)
	rest("POST", "/v1/connectors?connector_id=inbox", `{"type":"db","settings":{"host":"h"},"secrets":{"password":"`+quoted+`"}}`)
	rest("POST", "/v1/connectors/inbox:test", `{}`)
	b.stages.set(func(s *stageServices) {
		s.failure = status.Error(codes.Internal, "dial postgres://u:"+canary+"@h/db failed")
	})
	rest("POST", "/v1/connectors/inbox:test", `{}`)
	rest("POST", "/v1/connectors/warehouse:test", `{"connector":{"settings":{"host":"h"},"secrets":{"password":"`+quoted+`"}}}`)
	rest("GET", "/v1/connectors/inbox:discover", "")
	b.stages.set(func(s *stageServices) { s.failure = nil })

	// A run whose worker gets the secret and fails.
	b.publish(t, newSpec("cleaner"))
	run := b.run(t, "cleaner:v1", batch)
	task := b.claim(t, run.GetRun().GetRunId()+".stage.0", typev1.Stage_STAGE_INGEST)
	require.Equal(t, canary, task.GetConnectors()["inbox"].GetSecrets()["secret_key"], "the worker does get it")
	_, err := b.tasks(t).Fail(t.Context(), &controlv1.FailRequest{Claim: proof(task), Error: &typev1.Error{Code: "NOT_FOUND", Reason: "X", Message: "no"}})
	require.NoError(t, err)
	rest("GET", "/v1/"+run.GetName(), "")
	rest("GET", "/v1/"+run.GetName()+":watch", "")

	// Keys: the one that is made is shown once, and wrong ones never.
	created, err := b.keys().CreateApiKey(t.Context(), &controlv1.CreateApiKeyRequest{DisplayName: "app", Scopes: []string{"read"}})
	require.NoError(t, err)
	_, err = controlv1.NewRunServiceClient(b.dial(t, rpcclient.Config{APIKey: canaryKey})).ListRuns(t.Context(), &controlv1.ListRunsRequest{})
	requireFault(t, err, "UNAUTHENTICATED", "UNAUTHENTICATED")
	rest("GET", "/v1/apiKeys", "")
	rest("GET", "/metrics", "")
	b.stop()

	secrets := map[string][]string{"canary": {}, "key": {}, "wrong key": {}, "token": {}, "admin": {}}
	for name, secret := range map[string]string{
		"canary": canary, "key": created.GetKey()[18:], "wrong key": canaryKey, "token": workerToken, "admin": b.key[18:],
	} {
		for _, form := range forms(secret) {
			secrets[name] = append(secrets[name], form)
		}
	}
	where := map[string][]byte{"log": []byte(b.log.String()), "answers": []byte(answers.String())}
	seen := 0
	require.NoError(t, filepath.WalkDir(b.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || path == b.cfg.BootstrapKeyFile {
			return err
		}
		data, err := os.ReadFile(path)
		seen += len(data)
		where[path] = data
		return err
	}))
	require.NotEmpty(t, where[filepath.Join(b.dir, "control.db")])
	require.Positive(t, seen)
	for place, data := range where {
		for name, list := range secrets {
			for _, form := range list {
				require.False(t, bytes.Contains(data, []byte(form)), "%s leaks the %s as %q", place, name, form)
			}
		}
	}
}

// canaryKey looks like a key but is none.
const canaryKey = "lume_CANARYcanary_NotAKeyOfAnybodyButSecretAllTheSame"

func TestTheKeysetAndTheFirstKeyArePrivateFiles(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, path := range []string{b.cfg.KeysetFile, b.cfg.BootstrapKeyFile, filepath.Join(b.dir, "control.db")} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), info.Mode().Perm(), path)
	}
}
