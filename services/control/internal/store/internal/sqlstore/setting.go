package sqlstore

import (
	"context"

	"github.com/lume-data/lume/services/control/internal/store"
)

// Setting implements [store.SettingReader].
func (r reader) Setting(ctx context.Context, name string) ([]byte, error) {
	var value []byte
	err := r.get(ctx, "read setting", "SELECT value FROM settings WHERE name = ?", []any{name}, &value)
	return value, err
}

// CreateSetting implements [store.SettingWriter].
func (t *tx) CreateSetting(ctx context.Context, name string, value []byte) error {
	n, err := t.exec(ctx, "create setting",
		"INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING", name, nonNil(value))
	if err == nil && n == 0 {
		return store.ErrExists
	}
	return err
}

// ReplaceSetting implements [store.SettingWriter].
func (t *tx) ReplaceSetting(ctx context.Context, name string, old, value []byte) error {
	n, err := t.exec(ctx, "replace setting",
		"UPDATE settings SET value = ? WHERE name = ? AND value = ?", nonNil(value), name, nonNil(old))
	if err == nil && n == 0 {
		return store.ErrConflict
	}
	return err
}

func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
