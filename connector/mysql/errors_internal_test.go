package mysql

import (
	"context"
	"errors"
	"testing"

	driver "github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

func TestErrorsOfTheServerSayWhetherARetryHelps(t *testing.T) {
	t.Parallel()
	for number, want := range map[uint16]connector.Kind{
		1205: connector.KindUnavailable, 1213: connector.KindUnavailable, 1040: connector.KindUnavailable, 1053: connector.KindUnavailable, 1317: connector.KindUnavailable,
		1927: connector.KindUnavailable, 1021: connector.KindUnavailable, 3058: connector.KindUnavailable, 4031: connector.KindUnavailable,
		1045: connector.KindUnauthenticated, 1130: connector.KindUnauthenticated, 1044: connector.KindPermission, 1142: connector.KindPermission, 1143: connector.KindPermission,
		1049: connector.KindNotFound, 1146: connector.KindNotFound, 1054: connector.KindNotFound,
		1290: connector.KindConflict, 1792: connector.KindConflict, 1062: connector.KindConflict, 1452: connector.KindConflict, 3819: connector.KindConflict, 4025: connector.KindConflict,
		1148: connector.KindConflict, 3948: connector.KindConflict, 4166: connector.KindConflict, 1118: connector.KindConflict,
		1064: connector.KindInvalid, 1406: connector.KindInvalid, 1264: connector.KindInvalid, 1366: connector.KindInvalid, 1153: connector.KindInvalid, 9999: connector.KindInternal,
	} {
		const secret = "Duplicate entry 'secret value' for key 'column `secret`'"
		err := coded(context.Background(), &driver.MySQLError{Number: number, Message: secret})
		var e *connector.Error
		require.ErrorAs(t, err, &e, number)
		require.Equal(t, want, e.Kind, number)
		require.NotContains(t, e.Error()+e.Next+e.Column, "secret value")
		for _, value := range e.Meta {
			require.NotContains(t, value, "secret value")
		}
	}
	require.Equal(t, connector.KindUnavailable, connector.AsError(coded(context.Background(), driver.ErrInvalidConn)).Kind)
	require.Equal(t, "TLS_FAILED", connector.AsError(connectError(context.Background(), driver.ErrNoTLS)).Reason)
	require.Equal(t, "AUTHENTICATION_UNSUPPORTED", connector.AsError(connectError(context.Background(), driver.ErrUnknownPlugin)).Reason)
	require.Equal(t, "CONNECTION_FAILED", connector.AsError(connectError(context.Background(), errors.New("no route"))).Reason)
}

// The texts are those of MySQL 8.0 and MariaDB 10.11.
func TestARefusalNamesWhatTheServerNamesAndNoValue(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		number        uint16
		text          string
		message       string
		column        string
		row           int64
		isNotRefusing bool
	}{
		{number: 1062, text: "Duplicate entry '5' for key 't.one'", message: "violates the unique key one"},
		{number: 1062, text: "Duplicate entry '5' for key 'PRIMARY'", message: "violates the unique key PRIMARY"},
		{number: 1062, text: "Duplicate entry 'x' for key 'no'' for key 'one'", message: "violates the unique key one"},
		{number: 1062, text: "Duplicate entry 'a\nb' for key 't.one'", message: "violates the unique key one"},
		{number: 1452, text: "Cannot add or update a child row: a foreign key constraint fails (`db`.`t`, CONSTRAINT `known` FOREIGN KEY (`v`) REFERENCES `refs` (`id`))", message: "violates the foreign key known"},
		{number: 3819, text: "Check constraint 'positive' is violated.", message: "violates the check constraint positive"},
		{number: 4025, text: "CONSTRAINT `positive` failed for `db`.`t`", message: "violates the check constraint positive"},
		{number: 4025, text: "CONSTRAINT `t.v` failed for `db`.`t`", message: "violates the check constraint t.v"},
		{number: 1048, text: "Column 'v' cannot be null", message: "the column does not allow NULL", column: "v"},
		{number: 1263, text: "Column set to default value; NULL supplied to NOT NULL column 'v' at row 3", message: "the column does not allow NULL", column: "v", row: 3},
		{number: 1264, text: "Out of range value for column 'v' at row 17", message: "is out of the column's range", column: "v", row: 17},
		{number: 1406, text: "Data too long for column 'v' at row 2", message: "is longer than the column allows", column: "v", row: 2},
		{number: 1265, text: "Data truncated for column 'v' at row 2", message: "would be cut or changed by the column", column: "v", row: 2},
		{number: 1366, text: "Incorrect string value: '\\xE6\\x97' for column `db`.`t`.`v` at row 9", message: "has a character or value that the column cannot hold", column: "v", row: 9},
		{number: 1366, text: "Incorrect integer value: 'x' for column 'y' at row 1' for column 'v' at row 9", message: "has a character or value that the column cannot hold", column: "v", row: 9},
		{number: 1292, text: "Incorrect datetime value: '1969-12-31' for column 'v' at row 1", message: "is not a value of the column's type", column: "v", row: 1},
		{number: 1644, text: "secret 13", message: "a trigger of the table raised an error"},
		{number: 1526, text: "Table has no partition for value 7", message: "belongs to no partition of the table"},
		{number: 1142, text: "INSERT command denied to user", isNotRefusing: true},
		{number: 1213, text: "Deadlock found when trying to get lock; try restarting transaction", isNotRefusing: true},
		{number: 1205, text: "Lock wait timeout exceeded; try restarting transaction", isNotRefusing: true},
		{number: 1054, text: "Unknown column 'v' in 'field list'", isNotRefusing: true},
		{number: 1114, text: "The table 't' is full", isNotRefusing: true},
	} {
		reason, refused := refusedRow(&driver.MySQLError{Number: c.number, Message: c.text})
		require.Equal(t, !c.isNotRefusing, refused, c.text)
		require.Equal(t, connector.RefusedRow{Column: c.column, Message: c.message}, reason, c.text)
		require.Equal(t, c.row, rowNumber(c.text), c.text)
	}
	require.Equal(t, "x", columnName("Unknown column 'x' in 'field list'"))
	require.Equal(t, "id", columnName("Duplicate column name 'id'"))
}

func TestEnumsAreReadFromTheirDefinition(t *testing.T) {
	t.Parallel()
	for format, want := range map[string][]string{
		"enum('a')": {"a"}, "enum('a','b')": {"a", "b"}, "enum('it''s','','a,b','x)')": {"it's", "", "a,b", "x)"}, "enum('''')": {"'"},
	} {
		require.Equal(t, want, enumMembers(format))
	}
}

func TestStatementsOfALoad(t *testing.T) {
	t.Parallel()
	target := connector.TargetSpec{Name: "main", Table: "my.t`x", Mode: connector.Upsert, Columns: []connector.Column{
		{Name: "id", Type: connector.Type{Name: connector.TypeString}, Key: true}, {Name: "v", Type: connector.Type{Name: connector.TypeBinary}},
	}}
	for mariadb, collation := range map[bool]string{true: "utf8mb4_nopad_bin", false: "utf8mb4_0900_bin"} {
		s := &session{link: &Connector{database: "db"}, mariadb: mariadb}
		plan, err := s.link.plan(target)
		require.NoError(t, err)
		plan = s.speak(plan)
		l := &loader{session: s, plan: plan}
		columns := []column{{Column: target.Columns[0], native: native{format: "varchar(255)", charset: "utf8mb4", collation: collation}}, {Column: target.Columns[1], native: native{format: "longblob"}}}
		for got, want := range map[string]string{
			plan.CreateTarget(): "CREATE TABLE IF NOT EXISTS `my`.`t``x` (\n  `id` varchar(255) NOT NULL,\n  `v` longblob,\n  PRIMARY KEY (`id`)\n)" +
				" ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE " + collation,
			plan.InsertFrom(l.stageTable()): "INSERT INTO `my`.`t``x` (`id`, `v`) SELECT `id`, `v` FROM `my`.`_lume_load` WHERE `_row` >= ? AND `_row` < ?" +
				" ON DUPLICATE KEY UPDATE `v` = VALUES(`v`)",
			plan.InsertMarker(): "INSERT INTO `my`.`_lume_runs` (`run_id`, `target`, `state`, `flow_version`, `version_digest`, `attempt`, `fence`, `start_time`)" +
				" VALUES (?, ?, ?, ?, ?, ?, ?, UTC_TIMESTAMP(6)) ON DUPLICATE KEY UPDATE `run_id` = `run_id`",
			createStage(plan, l.stageTable(), columns): "CREATE TEMPORARY TABLE `my`.`_lume_load` (`_row` bigint NOT NULL PRIMARY KEY, `id` varchar(255) CHARACTER SET utf8mb4 COLLATE " + collation +
				" NULL, `v` longblob NULL) ENGINE = InnoDB ROW_FORMAT = DYNAMIC",
			loadStatement(plan.Dialect, "r", plan.Target, plan.ColumnNames(), func(i int) bool { return i == 1 }): `LOAD DATA LOCAL INFILE 'Reader::r' INTO TABLE ` + "`my`.`t``x`" +
				` CHARACTER SET utf8mb4 FIELDS TERMINATED BY '\t' ESCAPED BY '\\' LINES TERMINATED BY '\n' (` + "`id`, @lume1) SET `v` = UNHEX(@lume1)",
		} {
			require.Equal(t, want, got)
		}
	}
}
