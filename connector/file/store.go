package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"syscall"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/blob"
)

// tempPrefix begins the names of files that are being written. They are in no listing.
const tempPrefix = ".lume-tmp-"

// tempName is the name of a file as long as it is being written, and written the name that a file will get which has such a
// name now.
func tempName(name string) string { return tempPrefix + blob.Nonce() + "-" + name }

func written(temp string) string {
	_, name, _ := strings.Cut(strings.TrimPrefix(temp, tempPrefix), "-")
	return name
}

// store is a folder as a blob.Store. The folder is opened when it is first needed.
type store struct {
	// allowed is the operator's root, within the folder's path in it.
	allowed, within string

	mu   sync.Mutex
	root *os.Root
}

func newStore(allowed, within string) *store { return &store{allowed: allowed, within: within} }

// folder opens the folder through the operator's root, so that no link on the way leads out of that either.
func (s *store) folder() (*os.Root, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.root != nil {
		return s.root, nil
	}
	allowed, err := os.OpenRoot(s.allowed)
	if err != nil {
		return nil, folderError(err)
	}
	defer allowed.Close()
	root, err := allowed.OpenRoot(s.within)
	if err != nil {
		return nil, folderError(err)
	}
	s.root = root
	return root, nil
}

// Close implements blob.Store.
func (s *store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.root == nil {
		return nil
	}
	root := s.root
	s.root = nil
	return root.Close()
}

// Stat implements blob.Store.
func (s *store) Stat(ctx context.Context, key string) (blob.Attributes, error) {
	if err := ctx.Err(); err != nil {
		return blob.Attributes{}, err
	}
	root, err := s.folder()
	if err != nil {
		return blob.Attributes{}, err
	}
	info, err := root.Stat(key)
	if err != nil {
		return blob.Attributes{}, fileError(key, err)
	}
	if !info.Mode().IsRegular() {
		return blob.Attributes{}, fmt.Errorf("not a regular file: %w", blob.ErrNotExist)
	}
	return blob.Attributes{Size: info.Size(), ETag: etag(info), ModTime: info.ModTime()}, nil
}

// Open implements blob.Store.
func (s *store) Open(ctx context.Context, key, pinned string, offset, length int64) (io.ReadCloser, error) {
	root, err := s.folder()
	if err != nil {
		return nil, err
	}
	// Without O_NONBLOCK the open of a named pipe would wait for a writer.
	f, err := root.OpenFile(key, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fileError(key, err)
	}
	info, err := f.Stat()
	switch {
	case err != nil:
		err = fileError(key, err)
	case !info.Mode().IsRegular():
		err = blob.ErrNotExist
	case pinned != "" && etag(info) != pinned:
		err = connector.ErrChanged
	case offset >= info.Size():
		err = blob.ErrRange
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	end := info.Size()
	if length >= 0 && length < end-offset {
		end = offset + length
	}
	return &reader{ctx: ctx, key: key, file: f, etag: etag(info), offset: offset, end: end}, nil
}

// reader reads one content of a file: it looks at the file's tag again after every read, before it gives out the bytes.
type reader struct {
	ctx         context.Context
	key         string
	file        *os.File
	etag        string
	offset, end int64
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if r.offset >= r.end {
		return 0, io.EOF
	}
	n, err := r.file.ReadAt(p[:min(int64(len(p)), r.end-r.offset)], r.offset)
	if err != nil && err != io.EOF {
		return 0, fileError(r.key, err)
	}
	info, err := r.file.Stat()
	if err != nil {
		return 0, fileError(r.key, err)
	}
	if n == 0 || etag(info) != r.etag {
		return 0, connector.ErrChanged
	}
	r.offset += int64(n)
	return n, nil
}

// Close implements io.Closer.
func (r *reader) Close() error { return r.file.Close() }

// etag is size, modification time and inode: it changes when a file is written to or another takes its name. A writer that
// puts the old time back after writing the same number of bytes goes unseen.
func etag(info fs.FileInfo) string {
	var inode uint64
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		inode = st.Ino
	}
	return fmt.Sprintf(`"%x-%x-%x"`, info.Size(), info.ModTime().UnixNano(), inode)
}

// hidden reports whether a name is one of a file that is being written.
func hidden(key string) bool { return strings.HasPrefix(path.Base(key), tempPrefix) }

// fileError maps an error of the file system. Its text holds paths, which is why it is only a cause.
func fileError(key string, err error) error {
	if coded := (*connector.Error)(nil); errors.As(err, &coded) {
		return err
	}
	e := &connector.Error{Meta: map[string]string{"file": key}, Cause: err}
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.ENAMETOOLONG),
		errors.Is(err, syscall.ENXIO):
		return fmt.Errorf("%w: %w", blob.ErrNotExist, err)
	case escapes(err), errors.Is(err, syscall.ELOOP):
		e.Kind, e.Reason = connector.KindPermission, "PATH_OUTSIDE_CONNECTOR"
		e.Message = "a link on the way to " + key + " leads out of the connector's root"
		e.Next = "put the file itself below the root, or use a connector whose root covers it"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		e.Kind, e.Reason = connector.KindPermission, "PERMISSION_DENIED"
		e.Message = "the service may not access " + key
		e.Next = "let the user that the service runs as read the file, and for a target write to the folder"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		e.Kind, e.Reason = connector.KindUnavailable, "NO_SPACE"
		e.Message, e.Next = "there is no space left for "+key, "make room on the disk of the connector's root"
	default:
		e.Kind, e.Reason = connector.KindUnavailable, "FILE_UNAVAILABLE"
		e.Message, e.Next = "the file system failed for "+key, "check the disk or mount of the connector's root"
	}
	return e
}

func folderError(err error) error {
	e := &connector.Error{Cause: err}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), pathError(err, "not a directory"):
		e.Kind, e.Reason = connector.KindNotFound, "ROOT_NOT_FOUND"
		e.Message, e.Next = "the connector's root is not a folder of this machine", "create the folder, or correct the setting root"
	case escapes(err), errors.Is(err, syscall.ELOOP):
		e.Kind, e.Reason = connector.KindPermission, "ROOT_NOT_ALLOWED"
		e.Message = "a link in the connector's root leads out of the roots that the operator of this installation allows"
		e.Next = "give the folder's real path, below an allowed root"
	case errors.Is(err, fs.ErrPermission):
		e.Kind, e.Reason = connector.KindPermission, "PERMISSION_DENIED"
		e.Message, e.Next = "the service may not open the connector's root", "let the user that the service runs as read the folder"
	default:
		e.Kind, e.Reason = connector.KindUnavailable, "FILE_UNAVAILABLE"
		e.Message, e.Next = "the connector's root cannot be opened", "check the disk or mount of the folder"
	}
	return e
}

// escapes reports that os.Root refused to leave its folder.
func escapes(err error) bool { return pathError(err, "path escapes from parent") }

// pathError reports whether err is one of os.Root's own errors, which are not exported.
func pathError(err error, text string) bool {
	var e *fs.PathError
	return errors.As(err, &e) && e.Err != nil && e.Err.Error() == text
}
