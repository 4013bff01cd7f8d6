package server

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// template returns a fresh data folder of a server, that is made once per machine, version and options, since that takes seconds. owner
// owns it; nil for this user. build makes the folder fresh in the folder base.
func template(t testing.TB, name, binary, options string, owner *syscall.Credential, build func(base, fresh string)) string {
	t.Helper()
	version, err := exec.Command(binary, "--version").Output()
	if err != nil {
		t.Fatalf("%s --version: %v", binary, err)
	}
	uid := os.Geteuid()
	if owner != nil {
		uid = int(owner.Uid)
	}
	key := sha256.Sum256([]byte(string(version) + options))
	base := filepath.Join(os.TempDir(), fmt.Sprintf("lume-%s-template-%d-%x", name, uid, key[:6]))
	lock, err := os.OpenFile(base+".lock", os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	done := filepath.Join(base, "data")
	if _, err = os.Stat(done); err == nil {
		return done
	}
	if err = os.MkdirAll(base, 0o755); err == nil && owner != nil {
		err = os.Chown(base, int(owner.Uid), int(owner.Gid))
	}
	fresh := filepath.Join(base, "fresh")
	if err == nil {
		err = os.RemoveAll(fresh)
	}
	if err != nil {
		t.Fatal(err)
	}
	build(base, fresh)
	if err = os.Rename(fresh, done); err != nil {
		t.Fatal(err)
	}
	return done
}

// unprivileged is who runs a server that refuses to run as root: then nobody does.
func unprivileged(t testing.TB) *syscall.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.ParseUint(nobody.Uid, 10, 32)
	gid, _ := strconv.ParseUint(nobody.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// run runs a program as a user, nil for this one, in a folder.
func run(t testing.TB, user *syscall.Credential, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: user}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", filepath.Base(name), err, out)
	}
}
