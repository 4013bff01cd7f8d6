package engine

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ownExecutable names the running program, even if its file has been replaced since.
func ownExecutable() string { return "/proc/self/exe" }

// isolate gives a child its own process group and lets it die with the thread that starts it.
func isolate(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// killGroup kills a child, which leads its process group, and whatever that started.
func killGroup(p *os.Process) {
	_ = syscall.Kill(-p.Pid, syscall.SIGKILL)
	_ = p.Kill()
}

// baseAddressSpace is what the program and the library reserve before they hold any data (about 1.8 GiB), and some room
// for what the allocator keeps between jobs.
const baseAddressSpace = 3 << 30

// confine limits this process for good and executes the program again with args. It returns only if that fails.
func confine(cfg childConfig, args []string) error {
	runtime.LockOSThread()
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0); err != nil {
		return fmt.Errorf("ask to be the first to go when memory is short: %w", err)
	}
	limits := map[int]uint64{
		unix.RLIMIT_CORE:   0,
		unix.RLIMIT_FSIZE:  uint64(cfg.DiskBytes),
		unix.RLIMIT_NOFILE: 4096,
	}
	if !raceEnabled {
		limits[unix.RLIMIT_AS] = baseAddressSpace + 2*uint64(cfg.MemoryBytes)
	}
	for resource, limit := range limits {
		var now unix.Rlimit
		if err := unix.Getrlimit(resource, &now); err != nil {
			return fmt.Errorf("read limit %d: %w", resource, err)
		}
		limit = min(limit, now.Max)
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
			return fmt.Errorf("set limit %d to %d: %w", resource, limit, err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("renounce new privileges: %w", err)
	}
	if err := landlock(cfg.Root); err != nil {
		return fmt.Errorf("confine to %s: %w", cfg.Root, err)
	}
	return fmt.Errorf("execute again: %w", syscall.Exec("/proc/self/exe", args, []string{}))
}

// rulesetAttr is struct landlock_ruleset_attr; older kernels know only its first fields.
type rulesetAttr struct{ fs, net, scoped uint64 }

// landlock forbids this thread and what it executes to touch files outside of root, TCP, and other processes. What an
// older kernel does not know it leaves out; without Landlock it does nothing.
func landlock(root string) error {
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno == unix.ENOSYS || errno == unix.EOPNOTSUPP {
		return nil
	}
	if errno != 0 {
		return errno
	}
	read := uint64(unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR)
	// Everything of version 1, then what later versions added.
	all := uint64(unix.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1)
	write := read&^unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR |
		unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG
	attr := rulesetAttr{}
	if abi >= 2 {
		all |= unix.LANDLOCK_ACCESS_FS_REFER
		write |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi >= 3 {
		all |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
		write |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi >= 4 {
		attr.net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	if abi >= 5 {
		all |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	if abi >= 6 {
		attr.scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
	}
	attr.fs = all
	size := unsafe.Sizeof(attr)
	switch {
	case abi < 4:
		size = unsafe.Offsetof(attr.net)
	case abi < 6:
		size = unsafe.Offsetof(attr.scoped)
	}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0)
	if errno != 0 {
		return errno
	}
	defer unix.Close(int(fd))
	file := uint64(unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE)
	rules := []struct {
		path     string
		access   uint64
		required bool
	}{
		{root, write, true},
		{"/proc/self/exe", file, true},
		// What the loader and the C library need, and how much memory there is.
		{"/lib", read, false}, {"/lib64", read, false}, {"/usr/lib", read, false}, {"/usr/lib64", read, false},
		{"/etc/ld.so.cache", file, false}, {"/usr/share/zoneinfo", read, false},
		{"/dev/null", file | unix.LANDLOCK_ACCESS_FS_WRITE_FILE, false},
		{"/sys/kernel/mm/transparent_hugepage", read, false}, {"/sys/devices/system/cpu", read, false},
		// The library dereferences nil if it sees a limit of its control group that it cannot open.
		{"/sys/fs/cgroup", read, false},
		{"/proc/meminfo", file, false}, {"/proc/stat", file, false}, {"/proc/cpuinfo", file, false},
		{"/proc/sys/vm/overcommit_memory", file, false},
	}
	for _, r := range rules {
		if err := allow(int(fd), r.path, r.access); err != nil && (r.required || !errors.Is(err, os.ErrNotExist)) {
			return fmt.Errorf("allow %s: %w", r.path, err)
		}
	}
	// A process reads its own sizes; the number does not change when it executes itself again.
	own := "/proc/" + strconv.Itoa(os.Getpid())
	if err := allow(int(fd), own, read|unix.LANDLOCK_ACCESS_FS_WRITE_FILE); err != nil {
		return fmt.Errorf("allow %s: %w", own, err)
	}
	if _, _, errno = unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

func allow(ruleset int, path string, access uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	attr := unix.LandlockPathBeneathAttr{Allowed_access: access, Parent_fd: int32(fd)}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&attr)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// limitCPU lets the kernel end this process when it has used so many seconds more than it has by now.
func limitCPU(seconds uint64) {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		return
	}
	limit := uint64(used.Utime.Sec) + uint64(used.Stime.Sec) + seconds
	_ = unix.Setrlimit(unix.RLIMIT_CPU, &unix.Rlimit{Cur: limit, Max: math.MaxUint64})
}

// resetPeak makes the highest resident size start again.
func resetPeak() { _ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) }

// readSizes asks the kernel for the sizes of this process.
func readSizes() sizes {
	var s sizes
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return s
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch name {
		case "VmRSS":
			s.resident = kib << 10
		case "VmHWM":
			s.peak = kib << 10
		case "VmSize":
			s.virtual = kib << 10
		}
	}
	return s
}
