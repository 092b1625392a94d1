package swarmlab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// runRoot has a folder for each node and each network of the Swarms of this machine,
// with the number of the process that made it.
const runRoot = "/run/shiksha-lab"

// own says whose a node or a network is, and where the node keeps what it has.
func own(name, dir string) error {
	folder := filepath.Join(runRoot, name)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, "owner"), fmt.Appendf(nil, "%d %s", os.Getpid(), dir), 0o644)
}

// disown removes what own wrote about, and the machine's address when it is a
// network's.
func disown(name, dir string) error {
	if strings.HasPrefix(name, "198.18.") {
		// It may be gone already: then there is nothing to do.
		_ = exec.Command("ip", "address", "del", name+"/32", "dev", "lo").Run()
	}
	errs := []error{os.RemoveAll(filepath.Join(runRoot, name))}
	if dir != "" {
		errs = append(errs, os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}

// sweep removes what Swarms left behind whose processes were killed, and keeps others
// from making one until it is unlocked.
func sweep() (unlock func() error, err error) {
	if err := os.MkdirAll(runRoot, 0o755); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(runRoot, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	owners, _ := filepath.Glob(filepath.Join(runRoot, "*", "owner"))
	for _, path := range owners {
		var pid int
		text, err := os.ReadFile(path)
		if err == nil {
			_, err = fmt.Sscan(string(text), &pid)
		}
		if err != nil || syscall.Kill(pid, 0) == nil {
			continue
		}
		_, dir, _ := strings.Cut(string(text), " ")
		if err := disown(filepath.Base(filepath.Dir(path)), dir); err != nil {
			return nil, errors.Join(err, lock.Close())
		}
	}
	return lock.Close, nil
}
