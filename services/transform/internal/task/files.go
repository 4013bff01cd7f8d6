package task

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/apache/arrow-go/v18/parquet/file"
	"golang.org/x/sync/errgroup"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
)

// store keeps staged objects; see staging.Store.
type store interface {
	Fetch(ctx context.Context, obj *typev1.StagedObject, localPath string) error
	Put(ctx context.Context, key, localPath string, rows int64) (*typev1.StagedObject, error)
}

// fetches is how many objects are fetched at once.
const fetches = 8

// fetch brings staged objects to files in a folder.
func fetch(ctx context.Context, s store, dir string, objects map[string]*typev1.StagedObject) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(fetches)
	for name, obj := range objects {
		g.Go(func() error {
			if err := s.Fetch(ctx, obj, filepath.Join(dir, name)); err != nil {
				return fmt.Errorf("fetch %s: %w", name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// put stages a file that has rows; without any there is no object.
func put(ctx context.Context, s store, dir, name, key string, rows int64) (*typev1.StagedObject, error) {
	if rows == 0 {
		return nil, nil
	}
	obj, err := s.Put(ctx, key, filepath.Join(dir, name), rows)
	if err != nil {
		return nil, fmt.Errorf("stage %s: %w", name, err)
	}
	return obj, nil
}

// footer reads the number of rows and the columns of a Parquet file in their order.
func footer(path string) (rows int64, columns []string, err error) {
	r, err := file.OpenParquetFile(path, false)
	if err != nil {
		return 0, nil, fmt.Errorf("open %s: %w", filepath.Base(path), err)
	}
	defer r.Close()
	schema := r.MetaData().Schema
	for i := range schema.NumColumns() {
		columns = append(columns, schema.Column(i).Name())
	}
	return r.NumRows(), columns, nil
}
