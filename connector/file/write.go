package file

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"syscall"
	"time"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/blob"
)

const (
	fileMode   = 0o640
	folderMode = 0o750
	writeBytes = 1 << 20
)

// Put implements blob.Store.
func (s *store) Put(ctx context.Context, key string, body []byte, cond blob.Condition) error {
	w, err := s.create(ctx, key)
	if err != nil {
		return err
	}
	if _, err := w.Write(body); err != nil {
		w.Abort()
		return err
	}
	return w.commit(cond)
}

// Create implements blob.Store.
func (s *store) Create(ctx context.Context, key string) (blob.Writer, error) {
	return s.create(ctx, key)
}

func (s *store) create(ctx context.Context, key string) (*writer, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	root, err := s.folder()
	if err != nil {
		return nil, err
	}
	dir := path.Dir(key)
	// A sweep may take the folder away while it is empty.
	for try := 0; ; try++ {
		if err := makeFolder(root, dir); err != nil {
			return nil, fileError(key, err)
		}
		temp := path.Join(dir, tempName(path.Base(key)))
		f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
		if err == nil {
			return &writer{ctx: ctx, root: root, key: key, temp: temp, file: f, buffer: bufio.NewWriterSize(f, writeBytes)}, nil
		}
		if !errors.Is(err, fs.ErrNotExist) || try == 3 {
			return nil, fileError(key, err)
		}
	}
}

// makeFolder creates a folder and makes new ones durable.
func makeFolder(root *os.Root, dir string) error {
	if _, err := root.Stat(dir); err == nil {
		return nil
	}
	if err := root.MkdirAll(dir, folderMode); err != nil {
		return err
	}
	for dir != "." {
		dir = path.Dir(dir)
		if err := syncFolder(root, dir); err != nil {
			return err
		}
	}
	return nil
}

func syncFolder(root *os.Root, dir string) error {
	f, err := root.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// writer writes a file under a temporary name beside the one it gets at the end.
type writer struct {
	ctx       context.Context
	root      *os.Root
	key, temp string
	file      *os.File
	buffer    *bufio.Writer
}

// Write implements io.Writer.
func (w *writer) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := w.buffer.Write(p)
	if err != nil {
		return n, fileError(w.key, err)
	}
	return n, nil
}

// Commit implements blob.Writer.
func (w *writer) Commit() error { return w.commit(blob.Condition{}) }

// Abort implements blob.Writer.
func (w *writer) Abort() {
	w.file.Close()
	_ = w.root.Remove(w.temp)
}

// commit makes the content durable, then the name, if the condition holds.
func (w *writer) commit(cond blob.Condition) error {
	err := w.ctx.Err()
	if err == nil {
		err = w.buffer.Flush()
	}
	if err == nil {
		err = w.file.Sync()
	}
	if closeErr := w.file.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = w.publish(cond)
	}
	if err != nil {
		_ = w.root.Remove(w.temp)
		if errors.Is(err, blob.ErrPrecondition) {
			return err
		}
		return fileError(w.key, err)
	}
	if err := syncFolder(w.root, path.Dir(w.key)); err != nil {
		return fileError(w.key, err)
	}
	return nil
}

func (w *writer) publish(cond blob.Condition) error {
	switch {
	case cond.IfNotExist:
		// Unlike a rename, a link never takes the place of another file.
		err := w.root.Link(w.temp, w.key)
		switch {
		case err == nil:
			return w.root.Remove(w.temp)
		case errors.Is(err, fs.ErrExist):
			return blob.ErrPrecondition
		case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.ENOTSUP):
			return unsupported(err)
		}
		return err
	case cond.IfMatch != "":
		unlock, err := lock(w.ctx, w.root, path.Dir(w.key))
		if err != nil {
			return err
		}
		defer unlock()
		info, err := w.root.Stat(w.key)
		if errors.Is(err, fs.ErrNotExist) || err == nil && etag(info) != cond.IfMatch {
			return blob.ErrPrecondition
		}
		if err != nil {
			return err
		}
		if err := w.outdate(info); err != nil {
			return err
		}
	}
	return w.root.Rename(w.temp, w.key)
}

// outdate makes the modification time later than that of the file which is replaced. Clocks of file systems are coarse and
// inodes are used again: without it a file of the same size could get the tag of one that was there before.
func (w *writer) outdate(replaced fs.FileInfo) error {
	info, err := w.root.Stat(w.temp)
	if err != nil || info.ModTime().After(replaced.ModTime()) {
		return err
	}
	return w.root.Chtimes(w.temp, time.Time{}, replaced.ModTime().Add(time.Microsecond))
}

// lock keeps other processes from comparing and renaming in the same folder.
func lock(ctx context.Context, root *os.Root, dir string) (unlock func(), err error) {
	f, err := root.Open(dir)
	if err != nil {
		return nil, err
	}
	const pause = 5 * time.Millisecond
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return func() { f.Close() }, nil
		case errors.Is(err, syscall.EWOULDBLOCK), errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EBADF), errors.Is(err, syscall.ENOTSUP), errors.Is(err, syscall.ENOLCK):
			f.Close()
			return nil, unsupported(err)
		default:
			f.Close()
			return nil, err
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
}

func unsupported(cause error) error {
	return &connector.Error{
		Kind: connector.KindConflict, Reason: "CONDITIONAL_WRITES_UNSUPPORTED",
		Message: "the file system of the connector's root has no hard links or locks, so that a load could not be exactly once",
		Next:    "use a folder on a local disk, or set read_only if the connector is only a source", Cause: cause,
	}
}

// Delete implements blob.Store.
func (s *store) Delete(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	root, err := s.folder()
	if err != nil {
		return err
	}
	if err := root.Remove(key); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fileError(key, err)
	}
	return nil
}
