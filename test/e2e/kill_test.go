package e2e_test

import (
	"testing"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
)

// moments are the states in which processes are killed.
var moments = map[string]controlv1.RunState{
	"while the source is read":    controlv1.RunState_RUN_STATE_SYNCING_SOURCE,
	"while rows are transformed":  controlv1.RunState_RUN_STATE_TRANSFORMING,
	"while the target is written": controlv1.RunState_RUN_STATE_SYNCING_TARGET,
}

func TestARunSurvivesKillOfTheOneProcess(t *testing.T) {
	t.Parallel()
	i := up(t)
	for moment, state := range moments {
		t.Run(moment, func(t *testing.T) { survives(t, i, "up", state) })
	}
}

func TestARunSurvivesKillOfEachProcess(t *testing.T) {
	t.Parallel()
	i := four(t)
	for moment, state := range moments {
		for _, name := range services {
			t.Run(name+" "+moment, func(t *testing.T) { survives(t, i, name, state) })
		}
	}
}

func TestARunSurvivesTheLossOfNATSAndAllThatItKept(t *testing.T) {
	t.Parallel()
	i := four(t)
	for moment, state := range moments {
		t.Run(moment, func(t *testing.T) {
			survivesLoss(t, i, state, func() {
				i.nats.Kill()
				i.nats.Wipe()
				i.nats.Start()
			})
		})
	}
}

// survives kills a process when a run is in a state and starts it again.
func survives(t *testing.T, i *installation, process string, state controlv1.RunState) {
	t.Helper()
	survivesLoss(t, i, state, func() {
		i.processes[process].kill(t)
		i.restart(t, process)
	})
}

// survivesLoss lets something happen when a run is in a state, and requires that the run ends as if nothing had: every
// row once, every reject, one marker, a receipt that balances.
func survivesLoss(t *testing.T, i *installation, state controlv1.RunState, loss func()) {
	t.Helper()
	const n, bad = 60_000, 60
	list := orders(1, n, bad)
	s, target := files(t, i), postgresSink(t, i)
	version := i.publish(t, flow(fresh("flow"), "connector: "+s.connector+", csv: {}", "region", target.yaml, "append",
		"rules: [{name: region_and_id, unique: [region, id]}]\nlimits: {part_bytes: 524288}"))
	run := i.create(t, version, s.put(t, "big.csv", encodeCSV(t, list)))

	i.waitFor(t, run.GetName(), state)
	loss()

	ended := i.wait(t, run.GetName())
	inState(t, partial, ended)
	committed(t, i, target, ended, n, bad)
	same(t, good(list), target.rows(t))
}
