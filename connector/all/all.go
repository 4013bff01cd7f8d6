// Package all lists the connectors of this build, one line each. With cmd it is the only place that knows them.
package all

import (
	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/azureblob"
	"github.com/lume-data/lume/connector/databricks"
	"github.com/lume-data/lume/connector/file"
	"github.com/lume-data/lume/connector/mysql"
	"github.com/lume-data/lume/connector/postgres"
	"github.com/lume-data/lume/connector/s3"
	"github.com/lume-data/lume/connector/snowflake"
	"github.com/lume-data/lume/connector/sqlite"
	"github.com/lume-data/lume/connector/sqlserver"
)

// Definitions returns every kind of connector.
func Definitions() []connector.Definition {
	return []connector.Definition{
		azureblob.Definition(),
		databricks.Definition(),
		file.Definition(),
		mysql.Definition(),
		postgres.Definition(),
		s3.Definition(),
		snowflake.Definition(),
		sqlite.Definition(),
		sqlserver.Definition(),
	}
}

// Registry returns the registry of every kind of connector.
func Registry() *connector.Registry { return connector.NewRegistry(Definitions()...) }
