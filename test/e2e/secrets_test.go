package e2e_test

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
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	"github.com/lume-data/lume/test/server"
)

const (
	secretCanary = "Canary/of+the=secret"
	valueCanary  = "canary-of-a-cell"
)

func TestSecretsAndValuesStayInsideOnOneProcess(t *testing.T) {
	t.Parallel()
	i := up(t)
	answers := provoke(t, i)
	i.processes["up"].terminate(t)
	secretFree(t, "an answer", answers)
	for path, data := range tree(t, filepath.Join(i.root, "data")) {
		secretFree(t, path, data)
		if !strings.Contains(path, "/staging/") {
			require.NotContains(t, string(data), valueCanary, path)
		}
	}
	logsFree(t, i)
}

func TestSecretsAndValuesStayInsideOnFourProcesses(t *testing.T) {
	t.Parallel()
	i := four(t)
	answers := provoke(t, i)
	secretFree(t, "an answer", answers)
	for table, data := range dump(t, i.database) {
		secretFree(t, "control's table "+table, data)
		require.NotContains(t, string(data), valueCanary, table)
	}
	for subject, data := range messages(t, i.nats.URL) {
		secretFree(t, "a message on "+subject, data)
		require.NotContains(t, string(data), valueCanary, subject)
	}
	for name, data := range i.staging(t) {
		secretFree(t, "the staged object "+name, data)
	}
	logsFree(t, i)
}

// provoke stores secrets and makes everything happen that could show one: tests, discoveries, runs that go well and
// runs that fail with a wrong secret, rejects with values. It returns every answer.
func provoke(t *testing.T, i *installation) []byte {
	t.Helper()
	var answers bytes.Buffer
	keep := func(m interface{ String() string }) { answers.WriteString(m.String()) }
	b := bench{installation: i, files: files(t, i), db: postgres(t, i)}
	b.target = b.db.sink()

	s3 := server.StartS3(t)
	locked := fresh("locked")
	i.connector(t, locked, "s3", s3.Settings(), map[string]string{"secret_access_key": secretCanary})
	settings, _ := postgresSettings(t, b.db.conn.Config().ConnString())
	settings["user"] = "nobody_of_that_name"
	database := fresh("locked")
	i.connector(t, database, "postgres", settings, map[string]string{"password": secretCanary})

	for _, name := range []string{locked, database} {
		tested, err := i.connectors.TestConnector(t.Context(), &controlv1.TestConnectorRequest{Name: "connectors/" + name})
		require.NoError(t, explained(err))
		require.False(t, tested.GetOk())
		keep(tested)
		_, err = i.connectors.DiscoverConnector(t.Context(), &controlv1.DiscoverConnectorRequest{Name: "connectors/" + name})
		require.Error(t, err)
		answers.WriteString(explained(err).Error())
	}
	listed, err := i.connectors.ListConnectors(t.Context(), &controlv1.ListConnectorsRequest{PageSize: 1000})
	require.NoError(t, err)
	keep(listed)

	list := orders(1, 50, 0)
	list[7].region = valueCanary
	run := i.execute(t, b.plain(t, "rules: [{name: short_region, check: length(region) < 10}]"), b.files.put(t, "a.csv", encodeCSV(t, list)))
	inState(t, partial, run)
	text, err := protojson.Marshal(run)
	require.NoError(t, err)
	answers.Write(text)

	for version, path := range map[string]string{
		b.publish(t, flow(fresh("flow"), "connector: "+locked+", csv: {}", "region", b.target.yaml, "append", "")): "s3://" + s3.Bucket + "/a.csv",
		b.publish(t, flow(fresh("flow"), "connector: "+b.files.connector+", csv: {}", "region",
			"connector: "+database+", table: orders, create: true", "append", "")): b.files.uri("a.csv"),
	} {
		run := i.execute(t, version, path)
		inState(t, failed, run)
		keep(run)
	}
	return answers.Bytes()
}

// secretFree requires that the canary is not there, in none of the forms that programs give to secrets.
func secretFree(t *testing.T, where string, data []byte) {
	t.Helper()
	for _, form := range []string{
		secretCanary, url.QueryEscape(secretCanary), url.PathEscape(secretCanary), hex.EncodeToString([]byte(secretCanary)),
		base64.StdEncoding.EncodeToString([]byte(secretCanary)), base64.RawURLEncoding.EncodeToString([]byte(secretCanary)),
	} {
		require.False(t, bytes.Contains(data, []byte(form)), "%s shows the secret", where)
	}
}

func logsFree(t *testing.T, i *installation) {
	t.Helper()
	for name, p := range i.processes {
		secretFree(t, "the log of "+name, []byte(p.log.String()))
		require.NotContains(t, p.log.String(), valueCanary, "the log of %s shows a value", name)
	}
}

// tree reads every file below a folder.
func tree(t *testing.T, root string) map[string][]byte {
	t.Helper()
	found := map[string][]byte{}
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		found[path], err = os.ReadFile(path)
		return err
	}))
	require.NotEmpty(t, found)
	return found
}

// dump reads every table of a database as text.
func dump(t *testing.T, dsn string) map[string][]byte {
	t.Helper()
	conn := connect(t, dsn)
	rows, err := conn.Query(t.Context(), `SELECT tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')`)
	require.NoError(t, err)
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.NotEmpty(t, tables)
	found := map[string][]byte{}
	for _, table := range tables {
		rows, err := conn.Query(t.Context(), `SELECT CAST(t AS text) FROM `+pgx.Identifier{table}.Sanitize()+` t`)
		require.NoError(t, err)
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		text := strings.Join(lines, "\n")
		found[table] = []byte(text)
		// Bytes show as hex: what they hold is looked at as well.
		for _, word := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(`(),"\ `, r) }) {
			if raw, err := hex.DecodeString(strings.TrimPrefix(word, "x")); err == nil {
				found[table] = append(found[table], raw...)
			}
		}
	}
	return found
}

// messages reads what stands in the streams.
func messages(t *testing.T, address string) map[string][]byte {
	t.Helper()
	conn, err := nats.Connect(address)
	require.NoError(t, err)
	defer conn.Close()
	js, err := jetstream.New(conn)
	require.NoError(t, err)
	stream, err := js.Stream(t.Context(), "LUME_RUNS")
	require.NoError(t, err)
	consumer, err := stream.OrderedConsumer(t.Context(), jetstream.OrderedConsumerConfig{})
	require.NoError(t, err)
	found := map[string][]byte{}
	info, err := stream.Info(t.Context())
	require.NoError(t, err)
	require.NotZero(t, info.State.Msgs, "events of runs are published")
	batch, err := consumer.Fetch(int(info.State.Msgs), jetstream.FetchMaxWait(5*time.Second))
	require.NoError(t, err)
	for m := range batch.Messages() {
		found[m.Subject()] = append(found[m.Subject()], m.Data()...)
		for name, values := range m.Headers() {
			found[m.Subject()] = append(found[m.Subject()], name+strings.Join(values, "")...)
		}
	}
	require.NoError(t, batch.Error())
	return found
}
