package blob

import (
	"context"
	"strings"

	"github.com/lume-data/lume/connector"
)

// Discover implements connector.Discoverer: one level of prefixes and objects at a time.
func (c *Connector) Discover(ctx context.Context, prefix, cursor string, limit int) ([]connector.Item, string, error) {
	keyPrefix, err := c.loc.keyPrefix(prefix)
	if err != nil {
		return nil, "", err
	}
	entries, next, err := c.store.List(ctx, keyPrefix, cursor, false, limit)
	if err != nil {
		return nil, "", err
	}
	items := make([]connector.Item, 0, len(entries))
	for _, e := range entries {
		item := connector.Item{Path: c.loc.Format(e.Key), Kind: "object", Size: e.Size, ModTime: e.ModTime}
		if strings.HasSuffix(e.Key, "/") {
			item.Kind, item.Size = "prefix", -1
		}
		items = append(items, item)
	}
	return items, next, nil
}
