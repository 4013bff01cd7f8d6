package arch_test

// rule forbids imports. Patterns are regular expressions over package paths: relative ones inside the module, full ones
// outside of it; the standard library is matched as `std:path`. They match a path from its beginning to its end.
type rule struct {
	// name is what a failure prints.
	name string
	// from selects the packages that the rule is about, except those of but.
	from, but string
	// deny forbids what these packages may not import, except what allow permits.
	deny, allow string
	// deep extends the rule from direct imports to everything that is linked.
	deep bool
}

const (
	inside  = `(cmd|connector|gen|internal|services|test|examples|tools)(/.*)?`
	drivers = `github\.com/(jackc/pgx|go-sql-driver|microsoft/go-mssqldb|snowflakedb|databricks|duckdb|pressly/goose).*|modernc\.org/sqlite.*|std:database/sql.*`
	engines = `github\.com/duckdb/.*`
	// concrete are the connectors themselves, as against the contract, the suite and what families share.
	concrete = `connector/(file|s3|azureblob|postgres|mysql|sqlserver|sqlite|snowflake|databricks)(/.*)?`
)

var rules = []rule{
	{name: "gen imports third parties only",
		from: `gen/.*`, deny: inside, allow: `gen/.*`},
	{name: "the connector contract imports the standard library and Arrow",
		from: `connector`, deny: `.*`, allow: `std:.*|github\.com/apache/arrow-go/.*`},
	{name: "a connector imports the contract and what families share, nothing else of the module",
		from: concrete, deny: inside, allow: `connector|connector/internal/.*|connector/([a-z0-9]+)(/.*)?`},
	{name: "what families of connectors share imports only the contract",
		from: `connector/internal/.*`, deny: inside, allow: `connector|connector/internal/.*`},
	{name: "only connector/all and cmd know concrete connectors",
		from: `.*`, but: `connector/all|cmd/.*|test/.*|` + concrete, deny: concrete + `|connector/all`},
	{name: "internal never imports connector, services or cmd",
		from: `internal/.*`, deny: `(connector|services|cmd|test)(/.*)?`},
	{name: "services never import cmd or test code",
		from: `services/.*`, deny: `(cmd|test)(/.*)?`},
	{name: "the domain of a service imports no gRPC but its codes, and no driver",
		from: `services/[a-z]+/internal/.*`, but: `services/[a-z]+/internal/(api|store)(/.*)?`,
		deny: `google\.golang\.org/grpc(/.*)?|` + drivers, allow: `google\.golang\.org/grpc/codes`},
	{name: "no arrow runs from the domain or the store to the api",
		from: `services/[a-z]+/internal/.*`, but: `services/[a-z]+/internal/api(/.*)?`, deny: `services/[a-z]+/internal/api(/.*)?`},
	{name: "nothing imports cmd but cmd",
		from: `.*`, but: `cmd/.*`, deny: `cmd(/.*)?`},
	{name: "only test code imports test",
		from: `.*`, but: `test/.*`, deny: `test(/.*)?`},
	{name: "control, ingest and egress link no engine",
		from: `(services/|cmd/lume-)(control|ingest|egress)`, deny: engines, deep: true},
}

// siblings are folders whose children never import each other.
var siblings = []string{"services", "connector"}

// pure are packages that link no cgo outside of the standard library.
var pure = []string{
	"services/control", "services/ingest", "services/egress", "cmd/lume-control", "cmd/lume-ingest", "cmd/lume-egress",
}
