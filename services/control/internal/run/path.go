package run

import (
	"context"
	"errors"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/services/control/internal/store"
)

// sourcePaths are the specs of connectors, which say how a batch's URI is written so that it is known by one.
type sourcePaths []connector.Spec

// canonical returns the one form of a batch's path by the settings that the version's source connector has now. A batch of a
// connector that is not there, or whose paths have one form, keeps its own. Errors: [SourcePathError].
func (p sourcePaths) canonical(ctx context.Context, tx store.Tx, v store.Version, path string) (string, error) {
	c, err := tx.Connector(ctx, v.Spec.GetSource().GetConnector())
	if errors.Is(err, store.ErrNotFound) {
		return path, nil
	}
	if err != nil {
		return "", err
	}
	for _, spec := range p {
		if spec.Type != c.Type || spec.SourcePath == nil {
			continue
		}
		if path, err = spec.SourcePath(connector.NewConfig(spec, c.Settings, nil), path); err != nil {
			return "", &SourcePathError{Cause: connector.AsError(err)}
		}
	}
	return path, nil
}
