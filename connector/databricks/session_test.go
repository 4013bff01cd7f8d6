package databricks_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/databricks/thrifttest"
)

func TestASessionIsInUTCAndFailsWhatOverflows(t *testing.T) {
	t.Parallel()
	s := thrifttest.Start(t, func(thrifttest.Statement) thrifttest.Result { return described(t, "x", "int") })
	_, err := link(t, s, nil).Describe(t.Context(), "SELECT 1 AS x", false)
	require.NoError(t, err)
	asked := s.Asked()
	require.Equal(t, []string{"UTC", "true"}, []string{asked["timezone"], asked["ansi_mode"]}, "%v", asked)
}

func TestACheckNamesAMissingPermission(t *testing.T) {
	t.Parallel()
	for statement, name := range map[string]string{"DESCRIBE SCHEMA": "schema", "SHOW TABLES": "read"} {
		s := thrifttest.Start(t, func(st thrifttest.Statement) thrifttest.Result {
			if strings.HasPrefix(st.Text, statement) {
				return thrifttest.Result{Error: "[INSUFFICIENT_PERMISSIONS] Insufficient privileges: User driver-text does not have USE SCHEMA. SQLSTATE: 42501"}
			}
			return described(t)
		})
		status := map[string]string{}
		for _, check := range link(t, s, nil).Check(t.Context()) {
			status[check.Name] = check.Status
			if check.Status == connector.CheckFailed {
				require.Equal(t, name, check.Name)
				e := coded(t, check.Err, "PERMISSION_DENIED")
				require.Equal(t, connector.KindPermission, e.Kind)
				require.NotContains(t, e.Error()+e.Next, "driver-text")
			}
		}
		require.Equal(t, connector.CheckFailed, status[name])
		require.Equal(t, connector.CheckSkipped, status["staging"], "a check that was not executed is listed, too")
	}
}
