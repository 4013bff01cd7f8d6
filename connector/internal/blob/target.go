package blob

import (
	"context"
	"strings"

	"github.com/lume-data/lume/connector"
)

const (
	markerName  = "_metadata.json"
	pointerName = "_current.json"
	mappedDir   = "mapped/"
	rejectedDir = "rejected/"
)

// target is where one run goes.
type target struct {
	// prefix is the key of the target's prefix and ends in a slash.
	prefix, runID, name string
}

func (t target) folderName() string { return "run_id=" + t.runID + "/" }
func (t target) folder() string     { return t.prefix + t.folderName() }
func (t target) marker() string     { return t.folder() + markerName }
func (t target) pointer() string    { return t.prefix + pointerName }

// target places a run of a spec.
func (c *Connector) target(runID string, spec connector.TargetSpec) (target, error) {
	prefix, err := c.targetPrefix(spec)
	if err != nil {
		return target{}, err
	}
	if runID == "" || strings.ContainsAny(runID, "/\\.%") {
		return target{}, &connector.Error{
			Kind: connector.KindInternal, Reason: "CONNECTOR_FAULT", Message: "the run's id cannot name a folder", Meta: map[string]string{"run_id": runID},
		}
	}
	return target{prefix: prefix, runID: runID, name: spec.Name}, nil
}

func (c *Connector) targetPrefix(spec connector.TargetSpec) (string, error) {
	prefix, ok := CleanPrefix(spec.Prefix)
	if !ok || prefix == "" || strings.Contains(spec.Prefix, "://") {
		return "", &connector.Error{
			Kind: connector.KindInvalid, Reason: "INVALID_TARGET_PREFIX",
			Message: "the target's prefix must name a folder inside the connector, without . or .. in it",
			Next:    "write a prefix such as invoices/clean", Meta: map[string]string{"prefix": spec.Prefix},
		}
	}
	return c.loc.Prefix + prefix, nil
}

// checkSpec refuses what an object store can never do.
func checkSpec(spec connector.TargetSpec) error {
	switch spec.Mode {
	case connector.Append, connector.Replace:
	case connector.Upsert:
		return &connector.Error{
			Kind: connector.KindInvalid, Reason: "UPSERT_NOT_SUPPORTED", Message: "an object store cannot merge rows by key",
			Next: "use mode append or replace, or a database as target",
		}
	default:
		return &connector.Error{
			Kind: connector.KindInvalid, Reason: "INVALID_MODE", Message: "the target's mode must be append or replace",
			Meta: map[string]string{"mode": string(spec.Mode)},
		}
	}
	if _, ok := formats[format(spec)]; !ok {
		return &connector.Error{
			Kind: connector.KindInvalid, Reason: "INVALID_FORMAT", Message: "the target's format must be parquet, csv or jsonl",
			Meta: map[string]string{"format": spec.Format},
		}
	}
	return nil
}

// format returns the format of data objects, Parquet by default.
func format(spec connector.TargetSpec) string {
	if spec.Format == "" {
		return "parquet"
	}
	return spec.Format
}

func (c *Connector) writable() error {
	if !c.readOnly {
		return nil
	}
	return &connector.Error{
		Kind: connector.KindPermission, Reason: "CONNECTOR_READ_ONLY", Message: "the connector's setting read_only forbids to write",
		Next: "use another connector as target, or unset read_only",
	}
}

// mixed refuses an append below a pointer, which readers would never see.
func (c *Connector) mixed(ctx context.Context, t target, mode connector.Mode) error {
	if mode != connector.Append {
		return nil
	}
	current, _, err := c.readPointer(ctx, t)
	if err != nil || current.Generation == 0 {
		return err
	}
	return &connector.Error{
		Kind: connector.KindConflict, Reason: "PREFIX_IS_REPLACED",
		Message: "runs of mode replace own the prefix: its content is the one run that " + pointerName + " names",
		Next:    "use mode replace, or a prefix of its own for mode append", Meta: map[string]string{"key": t.pointer(), "run_id": current.RunID},
	}
}

// CheckTarget implements connector.Target.
func (c *Connector) CheckTarget(ctx context.Context, spec connector.TargetSpec) []connector.Check {
	var checks connector.Checks
	checks.Run("definition", func() error {
		if _, err := c.targetPrefix(spec); err != nil {
			return err
		}
		return checkSpec(spec)
	})
	checks.Run("writable", c.writable)
	checks.Run("prefix", func() error {
		prefix, err := c.targetPrefix(spec)
		if err != nil {
			return err
		}
		if _, _, err := c.store.List(ctx, prefix, "", false, 1); err != nil {
			return err
		}
		return c.mixed(ctx, target{prefix: prefix}, spec.Mode)
	})
	return checks.List()
}

// Settle implements connector.Target.
func (c *Connector) Settle(ctx context.Context, settlement connector.Settlement) (connector.Outcome, error) {
	t, err := c.target(settlement.RunID, settlement.Target)
	if err != nil {
		return connector.Outcome{}, err
	}
	found, err := c.readMarker(ctx, t)
	if err != nil {
		return connector.Outcome{}, err
	}
	if !found.stops(settlement.Fence) {
		if found, err = c.abort(ctx, t, found, settlement); err != nil {
			return connector.Outcome{}, err
		}
	}
	if found.State == aborted {
		c.clean(ctx, t, found)
		return connector.Outcome{}, nil
	}
	return c.existing(ctx, t, found)
}

// abort writes an aborted marker in the place of the one that stands, nil for none, or returns the marker that was quicker.
func (c *Connector) abort(ctx context.Context, t target, standing *marker, s connector.Settlement) (*marker, error) {
	if err := c.writable(); err != nil {
		return nil, err
	}
	if err := c.ask(ctx); err != nil {
		return nil, err
	}
	return c.decide(ctx, t, standing, marker{State: aborted, RunID: t.runID, Target: t.name, FlowVersion: s.FlowVersion, Fence: s.Fence}, nil)
}

// existing is the outcome of a load or settlement that a marker stops.
func (c *Connector) existing(ctx context.Context, t target, m *marker) (connector.Outcome, error) {
	if m.State == aborted {
		return connector.Outcome{}, connector.ErrAborted
	}
	if err := c.point(ctx, t, m); err != nil {
		return connector.Outcome{}, err
	}
	return connector.Outcome{Committed: true, Receipt: m.receipt(), Existing: true}, nil
}
