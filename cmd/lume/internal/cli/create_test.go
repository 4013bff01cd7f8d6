package cli

import (
	"strings"
	"testing"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
)

func TestAConnectorIsMadeFromFlags(t *testing.T) {
	t.Parallel()
	server := &control{}
	got := execute(t, server, "connectors", "create", "warehouse", "--type", "postgres", "--set", "host=db", "--set", "sslmode=require", "--set", "port=5433",
		"--set", "read_only=true", "--secret", "password=env:PASSWORD", "--description", "sales")
	require.Equal(t, ExitOK, got.code, got.err)
	require.Contains(t, got.out, "Connector warehouse created")
	require.Contains(t, got.out, "lume connectors test warehouse")
	text, err := protojson.Marshal(server.connectors["connectors/warehouse"])
	require.NoError(t, err)
	require.JSONEq(t, `{"name": "connectors/warehouse", "type": "postgres", "description": "sales",
		"settings": {"host": "db", "sslmode": "require", "port": 5433, "read_only": true}, "secrets": {"password": "hunter2"}}`, string(text))
}

func TestWhatAConnectorLacksIsSaidWhereNobodyCanBeAsked(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"type":            {nil, "Error: the type of the connector is missing\nNext: give one by --type: file, postgres\n"},
		"settings":        {[]string{"--type", "postgres", "--set", "host=db"}, "Error: needed, and there is no terminal to ask at: sslmode, password\nNext: give --set sslmode=VALUE --secret password=@FILE\n"},
		"unknown setting": {[]string{"--type", "postgres", "--set", "hots=db"}, "Error: hots is not a setting of connector type postgres\nNext: see 'lume connectors specs postgres'\n"},
		"no value":        {[]string{"--type", "postgres", "--set", "host"}, "Error: --set host has no name or no value\nNext: write --set NAME=VALUE\n"},
		"not a number":    {[]string{"--type", "postgres", "--set", "port=many"}, "Error: port must be a whole number\nNext: see 'lume connectors specs postgres'\n"},
		"not a value":     {[]string{"--type", "postgres", "--set", "sslmode=maybe"}, "Error: sslmode must be one of disable, require\nNext: see 'lume connectors specs postgres'\n"},
		"not a truth":     {[]string{"--type", "postgres", "--set", "read_only=maybe"}, "Error: read_only must be true or false\nNext: see 'lume connectors specs postgres'\n"},
		"secret as argument": {
			[]string{"--type", "postgres", "--set", "password=hunter3"},
			"Error: password is a secret, which is never an argument\nNext: give it by --secret password=@FILE or --secret password=env:VARIABLE\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := &control{}
			got := execute(t, server, append([]string{"connectors", "create", "warehouse"}, c.args...)...)
			require.Equal(t, result{code: ExitError, err: c.want}, got)
			require.Empty(t, server.connectors)
		})
	}
}

// The terminal is a real one, which echoes what is typed unless it is told not to.
func TestAConnectorIsMadeFromAnswers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		flags   []string
		answers []string
		want    string
		said    []string
	}{
		"what is required": {
			nil, []string{"", "db", "maybe", "require", "", "hunter4"},
			`{"host": "db", "sslmode": "require"}`,
			[]string{"Name or address of the server. For example: db.example.com", "host is required", "One of disable, require.", "sslmode must be one of disable, require", "password is required"},
		},
		"everything": {
			[]string{"--all", "--set", "sslmode=disable"}, []string{"db", "", "yes", "true", "hunter4"},
			`{"host": "db", "sslmode": "disable", "read_only": true}`,
			[]string{"port [5432]: ", "read_only must be true or false"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			keyboard, terminal, err := pty.Open()
			require.NoError(t, err)
			defer keyboard.Close()
			defer terminal.Close()
			_, err = keyboard.WriteString(strings.Join(c.answers, "\n") + "\n")
			require.NoError(t, err)
			server := &control{}
			got := executeWith(t, start(t, server), terminal, append([]string{"connectors", "create", "warehouse", "--type", "postgres"}, c.flags...)...)
			require.Equal(t, ExitOK, got.code, got.err)
			made := server.connectors["connectors/warehouse"]
			text, err := protojson.Marshal(made.GetSettings())
			require.NoError(t, err)
			require.JSONEq(t, c.want, string(text))
			require.Equal(t, map[string]string{"password": "hunter4"}, made.GetSecrets())
			for _, said := range c.said {
				require.Contains(t, got.err, said)
			}
			require.NotContains(t, got.out+got.err, "hunter4")
		})
	}
}
