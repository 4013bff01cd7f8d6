package stageservice

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// lockName is a file that a process holds locked as long as its work folder is in use.
const lockName = ".lock"

// WorkDirs gives out private folders below one that belongs to this process alone. It is safe for concurrent use.
type WorkDirs struct {
	dir  string
	lock *os.File
	log  *slog.Logger
}

// openWorkDirs removes the folders that dead processes of the stage have left, and makes one for this process.
func openWorkDirs(base, stage string, log *slog.Logger) (*WorkDirs, error) {
	if err := os.MkdirAll(base, 0o700); err != nil {
		return nil, fmt.Errorf("make the work folder: %w", err)
	}
	// Folders are made and swept under one lock, so that none is swept between its making and its own lock.
	gate, err := lockFile(filepath.Join(base, lockName), syscall.LOCK_EX)
	if err != nil {
		return nil, fmt.Errorf("lock the work folder: %w", err)
	}
	defer gate.Close()
	if err := sweep(base, stage+"-", log); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(base, stage+"-")
	if err != nil {
		return nil, fmt.Errorf("make the work folder: %w", err)
	}
	lock, err := lockFile(filepath.Join(dir, lockName), syscall.LOCK_EX|syscall.LOCK_NB)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock the work folder: %w", err), os.RemoveAll(dir))
	}
	return &WorkDirs{dir: dir, lock: lock, log: log}, nil
}

func lockFile(path string, how int) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(file.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// sweep removes folders whose process is dead: nobody holds their lock.
func sweep(base, prefix string, log *slog.Logger) error {
	entries, err := os.ReadDir(base)
	if err != nil {
		return fmt.Errorf("read the work folder: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), prefix) {
			continue
		}
		path := filepath.Join(base, e.Name())
		lock, err := lockFile(filepath.Join(path, lockName), syscall.LOCK_EX|syscall.LOCK_NB)
		if err != nil {
			continue // It is in use, or not ours.
		}
		if err := os.RemoveAll(path); err != nil {
			log.Warn("a stale work folder could not be removed", "folder", path, "cause", err)
		} else {
			log.Info("removed the work folder of a dead process", "folder", path)
		}
		_ = lock.Close()
	}
	return nil
}

// Make makes an empty folder that only this user can enter, and returns the function that removes it and everything in
// it. name, for people, may hold letters, digits and `-_`; others are replaced.
func (w *WorkDirs) Make(name string) (dir string, remove func(), err error) {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		}
		return '_'
	}, name)
	dir, err = os.MkdirTemp(w.dir, clean[:min(len(clean), 100)]+"-")
	if err != nil {
		return "", nil, fmt.Errorf("make a work folder: %w", err)
	}
	return dir, func() {
		if err := removeAll(dir); err != nil {
			w.log.Warn("a work folder could not be removed", "folder", dir, "cause", err)
		}
	}, nil
}

// removeAll removes a folder even if a folder in it is read-only.
func removeAll(dir string) error {
	err := os.RemoveAll(dir)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			_ = os.Chmod(path, 0o700) //nolint:gosec // It is a folder, and ours.
		}
		return nil
	})
	return os.RemoveAll(dir)
}

// Close removes everything.
func (w *WorkDirs) Close() error {
	return errors.Join(removeAll(w.dir), w.lock.Close())
}
