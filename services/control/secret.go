package control

import (
	"context"
	"errors"
	"fmt"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/internal/seal"
	connectordomain "github.com/lume-data/lume/services/control/internal/connector"
	"github.com/lume-data/lume/services/control/internal/store"
	"github.com/lume-data/lume/services/control/internal/task"
)

const (
	// rootSetting holds the root secret of the installation, sealed. That it opens proves at every start that the key is
	// the one that sealed the connectors' secrets.
	rootSetting = "root_secret"
	rootPlace   = "lume/v1|installation|root|1"
)

// openSealer loads the key that seals secrets and the installation's root secret, which it makes for a new database.
func openSealer(ctx context.Context, db store.Store, cfg Config) (_ *seal.Sealer, _ *seal.Keys, err error) {
	sealed, err := db.Setting(ctx, rootSetting)
	isNew := errors.Is(err, store.ErrNotFound)
	if err != nil && !isNew {
		return nil, nil, fmt.Errorf("read the installation's secret: %w", err)
	}
	sealer, err := seal.Open(ctx, seal.Config{KeysetFile: cfg.KeysetFile, KMSURL: cfg.KMSURL, Create: cfg.CreateKeyset && isNew})
	switch {
	case errors.Is(err, seal.ErrNoKeyset) && isNew:
		return nil, nil, errors.New("there is no keyset file: create it on the first start (--create-keyset), and keep a copy of it apart from the database's")
	case errors.Is(err, seal.ErrNoKeyset):
		return nil, nil, errors.New("there is no keyset file, but the database holds secrets that were sealed with one: put the file back")
	case err != nil:
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, sealer.Close())
		}
	}()
	if isNew {
		if sealed, err = createRoot(ctx, db, sealer); err != nil {
			return nil, nil, err
		}
	}
	root, err := sealer.Open(ctx, rootPlace, sealed)
	if errors.Is(err, seal.ErrCannotOpen) {
		return nil, nil, errors.New("the key does not open the database's secrets: it is not the key that sealed them")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("open the installation's secret: %w", err)
	}
	keys, err := seal.NewKeys(root)
	return sealer, keys, err
}

// createRoot stores a new root secret, or returns the one that another replica has stored in between.
func createRoot(ctx context.Context, db store.Store, sealer *seal.Sealer) ([]byte, error) {
	sealed, err := sealer.Seal(ctx, rootPlace, seal.NewRoot())
	if err != nil {
		return nil, err
	}
	err = db.Update(ctx, func(tx store.Tx) error { return tx.CreateSetting(ctx, rootSetting, sealed) })
	if errors.Is(err, store.ErrExists) {
		sealed, err = db.Setting(ctx, rootSetting)
	}
	if err != nil {
		return nil, fmt.Errorf("store the installation's secret: %w", err)
	}
	return sealed, nil
}

// opener gives workers the connectors of their tasks.
type opener struct {
	db         store.Store
	connectors *connectordomain.Service
}

// Open implements task.Connectors.
func (o opener) Open(ctx context.Context, names []string) (map[string]task.Connector, error) {
	configs, err := o.connectors.Configs(ctx, o.db, names)
	if err != nil {
		return nil, err
	}
	opened := make(map[string]task.Connector, len(configs))
	for name, cfg := range configs {
		c := task.Connector{Type: cfg.GetType(), Settings: cfg.GetSettings().AsMap(), Secrets: make(map[string]connector.Secret)}
		for field, value := range cfg.GetSecrets() {
			c.Secrets[field] = connector.NewSecret(value)
		}
		opened[name] = c
	}
	return opened, nil
}
