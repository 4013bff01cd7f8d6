package file

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/lume-data/lume/connector/internal/blob"
)

// List implements blob.Store. The cursor is the last key of the page before. Links are shown if they lead to a file inside the
// root; links to folders are not descended into, so that a listing ends.
func (s *store) List(ctx context.Context, prefix, cursor string, recursive bool, limit int) ([]blob.Entry, string, error) {
	root, err := s.folder()
	if err != nil {
		return nil, "", err
	}
	l := lister{ctx: ctx, root: root, prefix: prefix, cursor: cursor, recursive: recursive, limit: limit}
	dir := ""
	if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
		dir = prefix[:i+1]
	}
	if err := l.walk(dir); err != nil && !errors.Is(err, errFull) {
		return nil, "", err
	}
	if !l.more {
		return l.entries, "", nil
	}
	return l.entries, l.entries[len(l.entries)-1].Key, nil
}

var errFull = errors.New("the page is full")

type lister struct {
	ctx            context.Context
	root           *os.Root
	prefix, cursor string
	recursive      bool
	limit          int
	entries        []blob.Entry
	more           bool
}

// walk adds what is in a folder, whose key ends in a slash unless it is the root.
func (l *lister) walk(dir string) error {
	if err := l.ctx.Err(); err != nil {
		return err
	}
	names, err := readNames(l.root, dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		key := dir + name
		folder := strings.HasSuffix(key, "/")
		switch {
		case !strings.HasPrefix(key, l.prefix) && !(folder && strings.HasPrefix(l.prefix, key)):
			continue
		case folder && l.recursive:
			// Keys inside of a folder begin with its key: none of them can come after a cursor that is beyond those.
			if key <= l.cursor && !strings.HasPrefix(l.cursor, key) {
				continue
			}
			if err := l.walk(key); err != nil {
				return err
			}
			continue
		case key <= l.cursor:
			continue
		}
		entry := blob.Entry{Key: key}
		if !folder {
			info, err := l.root.Stat(key)
			if err != nil || !info.Mode().IsRegular() {
				continue
			}
			entry.Size, entry.ModTime = info.Size(), info.ModTime()
		}
		if len(l.entries) == l.limit {
			l.more = true
			return errFull
		}
		l.entries = append(l.entries, entry)
	}
	return nil
}

// readNames returns the names in a folder in the order of their keys, those of folders with a slash at the end. A folder that
// does not exist is empty, as in any object store.
func readNames(root *os.Root, dir string) ([]string, error) {
	f, err := root.Open(path.Clean(dir))
	if err != nil {
		if err = fileError(dir, err); errors.Is(err, blob.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	defer f.Close()
	found, err := f.ReadDir(-1)
	if err != nil {
		if err = fileError(dir, err); errors.Is(err, blob.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	names := make([]string, 0, len(found))
	for _, d := range found {
		switch {
		case hidden(d.Name()):
		case d.IsDir():
			names = append(names, d.Name()+"/")
		case d.Type().IsRegular(), d.Type()&fs.ModeSymlink != 0:
			names = append(names, d.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// Sweep implements blob.Store: it removes unfinished files and empty folders.
func (s *store) Sweep(ctx context.Context, prefix string, dead func(key string) bool) error {
	root, err := s.folder()
	if err != nil {
		return err
	}
	return sweep(ctx, root, path.Clean(prefix), dead)
}

func sweep(ctx context.Context, root *os.Root, dir string, dead func(key string) bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f, err := root.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fileError(dir, err)
	}
	found, err := f.ReadDir(-1)
	f.Close()
	if err != nil {
		return fileError(dir, err)
	}
	for _, d := range found {
		name := path.Join(dir, d.Name())
		switch {
		case d.IsDir():
			if err := sweep(ctx, root, name, dead); err != nil {
				return err
			}
		case hidden(name) && dead(path.Join(dir, written(d.Name()))):
			if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fileError(name, err)
			}
		}
	}
	if dir != "." {
		// It fails for a folder that holds something, which is what is wanted.
		_ = root.Remove(dir)
	}
	return nil
}
