package staging

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// incoming holds files before they get their key; its name cannot be a key's.
	incoming = ".incoming"
	// incomingAge is when a file in it is certainly of a process that died.
	incomingAge = 24 * time.Hour
)

// files is a store in a folder. An object becomes visible by a rename, whole; its bytes and its name are on disk before
// the caller hears of it. Local files are linked in and out where one file system holds both.
type files struct{ root string }

func openFiles(u *url.URL) (*files, error) {
	if u.Host != "" || !filepath.IsAbs(u.Path) || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%w: a folder is file:///absolute/path", ErrURL)
	}
	f := &files{root: filepath.Clean(u.Path)}
	if f.root == "/" {
		return nil, fmt.Errorf("%w: the root folder cannot be a store", ErrURL)
	}
	if err := os.MkdirAll(filepath.Join(f.root, incoming), 0o700); err != nil {
		return nil, fmt.Errorf("open staging folder: %w", err)
	}
	return f, f.dropStale()
}

// dropStale removes what writers left that never committed.
func (f *files) dropStale() error {
	entries, err := os.ReadDir(filepath.Join(f.root, incoming))
	if err != nil {
		return fmt.Errorf("open staging folder: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && time.Since(info.ModTime()) > incomingAge {
			_ = os.Remove(filepath.Join(f.root, incoming, e.Name()))
		}
	}
	return nil
}

func (f *files) close() error { return nil }

func (f *files) path(key string) string { return filepath.Join(f.root, filepath.FromSlash(key)) }

func (f *files) temp() string { return filepath.Join(f.root, incoming, rand.Text()) }

func (f *files) put(ctx context.Context, key, localPath string) ([]byte, int64, error) {
	local, err := os.Open(localPath)
	if err != nil {
		return nil, 0, err
	}
	defer local.Close()
	temp := f.temp()
	if err = os.Link(localPath, temp); err != nil {
		// Another file system, or one without links.
		if err = copyFile(ctx, temp, local); err != nil {
			return nil, 0, diskError(err)
		}
	}
	file, err := os.Open(temp)
	if err != nil {
		_ = os.Remove(temp)
		return nil, 0, diskError(err)
	}
	defer file.Close()
	dirs, err := f.publish(temp, key)
	if err != nil {
		_ = os.Remove(temp)
		return nil, 0, diskError(err)
	}
	synced := make(chan error, 1)
	go func() { synced <- seal(file, dirs) }()
	sum, size, err := digest(ctx, file)
	if err = errors.Join(err, <-synced); err != nil {
		_ = os.Remove(f.path(key))
		return nil, 0, diskError(err)
	}
	return sum, size, nil
}

// publish gives a file its key, and returns the folders with new names, which are not durable yet. A folder can vanish
// in between, when the last object in it is deleted; then it is made again.
func (f *files) publish(temp, key string) ([]string, error) {
	path := f.path(key)
	for try := 0; ; try++ {
		changed, err := f.makeDir(filepath.Dir(path), nil)
		if err == nil {
			err = os.Rename(temp, path)
		}
		if err == nil {
			return append(changed, filepath.Dir(path)), nil
		}
		if !errors.Is(err, fs.ErrNotExist) || try == 100 {
			return nil, err
		}
	}
}

// seal makes a published file read-only, and then it and its names durable. The file comes first: journals commit its
// names with it, so that the folders, from the innermost to the outermost, cost little more.
func seal(file *os.File, dirs []string) error {
	if err := file.Chmod(0o400); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	for _, dir := range slices.Backward(dirs) {
		d, err := os.Open(dir)
		if err != nil {
			return err
		}
		if err = errors.Join(d.Sync(), d.Close()); err != nil {
			return err
		}
	}
	return nil
}

// makeDir creates a folder below the root with its parents, and adds the folders in which names are new to changed.
func (f *files) makeDir(dir string, changed []string) ([]string, error) {
	if dir == f.root {
		return changed, nil
	}
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return changed, nil
	}
	changed, err := f.makeDir(filepath.Dir(dir), changed)
	if err != nil {
		return changed, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return changed, err
	}
	return append(changed, filepath.Dir(dir)), nil
}

func (f *files) fetch(ctx context.Context, key, localPath string) ([]byte, int64, error) {
	src, err := os.Open(f.path(key))
	if err != nil {
		return nil, 0, fileError(err)
	}
	defer src.Close()
	if err = os.Link(f.path(key), localPath); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil, 0, err
		}
		if err = copyFile(ctx, localPath, src); err != nil {
			return nil, 0, diskError(err)
		}
		if _, err = src.Seek(0, io.SeekStart); err != nil {
			return nil, 0, diskError(err)
		}
	}
	sum, size, err := digest(ctx, src)
	if err != nil {
		_ = os.Remove(localPath)
		return nil, 0, diskError(err)
	}
	return sum, size, nil
}

func (f *files) create(ctx context.Context, key string) (sink, error) {
	file, err := os.OpenFile(f.temp(), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, diskError(err)
	}
	return &fileSink{ctx: ctx, store: f, key: key, file: file}, nil
}

// fileSink is an object that is being written to a file store.
type fileSink struct {
	ctx   context.Context
	store *files
	key   string
	file  *os.File
}

func (s *fileSink) Write(p []byte) (int, error) {
	if err := context.Cause(s.ctx); err != nil {
		return 0, err
	}
	n, err := s.file.Write(p)
	return n, diskError(err)
}

func (s *fileSink) commit() error {
	err := context.Cause(s.ctx)
	var dirs []string
	if err == nil {
		dirs, err = s.store.publish(s.file.Name(), s.key)
	}
	if err != nil {
		s.abort()
		return diskError(err)
	}
	if err = errors.Join(seal(s.file, dirs), s.file.Close()); err != nil {
		_ = os.Remove(s.store.path(s.key))
	}
	return diskError(err)
}

func (s *fileSink) abort() {
	_ = s.file.Close()
	_ = os.Remove(s.file.Name())
}

func (f *files) reader(_ context.Context, key string) (io.ReadCloser, error) {
	file, err := os.Open(f.path(key))
	if err != nil {
		return nil, fileError(err)
	}
	if info, err := file.Stat(); err != nil || info.IsDir() {
		_ = file.Close()
		return nil, ErrNotFound
	}
	return file, nil
}

func (f *files) list(ctx context.Context, prefix string, fn func(Object) error) error {
	start := f.path(strings.TrimSuffix(prefix, "/"))
	return filepath.WalkDir(start, func(path string, entry fs.DirEntry, err error) error {
		if ctxErr := context.Cause(ctx); ctxErr != nil {
			return ctxErr
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // Deleted while we walk, or nothing was ever put here.
		}
		if err != nil {
			return diskError(err)
		}
		if entry.IsDir() {
			if path != start && strings.HasPrefix(entry.Name(), ".") {
				return fs.SkipDir
			}
			return nil
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return diskError(err)
		}
		rel, err := filepath.Rel(f.root, path)
		if err != nil {
			return err
		}
		return fn(Object{Key: filepath.ToSlash(rel), Size: info.Size(), ModTime: info.ModTime()})
	})
}

func (f *files) remove(_ context.Context, key string) error {
	path := f.path(key)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return diskError(err)
	}
	f.prune(filepath.Dir(path))
	return nil
}

func (f *files) removePrefix(_ context.Context, prefix string) error {
	dir := f.path(strings.TrimSuffix(prefix, "/"))
	// A writer may add to it meanwhile, and the sweep is for what nobody writes: try again, then leave it to the next one.
	err := os.RemoveAll(dir)
	for try := 0; errors.Is(err, syscall.ENOTEMPTY) && try < 10; try++ {
		err = os.RemoveAll(dir)
	}
	if err != nil {
		return diskError(err)
	}
	f.prune(filepath.Dir(dir))
	return nil
}

// prune removes folders that are empty, but for those in the root: they would be made again at once.
func (f *files) prune(dir string) {
	for dir != f.root && filepath.Dir(dir) != f.root && os.Remove(dir) == nil {
		dir = filepath.Dir(dir)
	}
}

// copyFile writes src to a new file and removes it if that fails.
func copyFile(ctx context.Context, path string, src *os.File) error {
	dst, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{dst}, &contextReader{ctx: ctx, r: src}, make([]byte, 1<<20))
	if err = errors.Join(err, dst.Close()); err != nil {
		_ = os.Remove(path)
	}
	return err
}

// fileError turns a missing file into ErrNotFound.
func fileError(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotFound
	}
	return diskError(err)
}

// diskError marks what an operator can heal: a full disk, a quota, a fault of the device.
func diskError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EIO) ||
		errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ESTALE) {
		return &transientError{err}
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: %w", ErrDenied, err)
	}
	return err
}
