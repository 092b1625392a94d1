package door

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/shiksha/actions/actions/inputs"
	"github.com/shiksha/actions/pkg/event"
)

// HandOver gives what a run wrote into the workspace to whom the workspace belongs: the
// paths, what is below them and the folders on the way. The action's container is
// root, a runner of one's own often is not, and its next checkout deletes what is there.
// People keep what they write.
func (s *Session) HandOver(paths ...string) {
	if !s.Action.Active() || os.Geteuid() != 0 || len(paths) == 0 {
		return
	}
	if err := handOver(s.Workspace, paths); err != nil {
		s.Sink.Emit(event.Event{Time: time.Now(), Level: event.Warning, Phase: "report",
			Text: "what was written stays root's, and the next checkout may not be able to delete it: " + err.Error()})
	}
}

// handOver gives away what is root's. What is somebody else's already was not made here,
// and what is outside the workspace is nobody's concern.
func handOver(workspace string, paths []string) error {
	root, err := os.OpenRoot(workspace)
	if err != nil {
		return err
	}
	defer root.Close()
	info, err := root.Stat(".")
	if err != nil {
		return err
	}
	to, ok := info.Sys().(*syscall.Stat_t)
	if !ok || to.Uid == 0 {
		return nil
	}
	give := func(path string) error {
		info, err := root.Lstat(path)
		if err != nil {
			return err
		}
		if of, ok := info.Sys().(*syscall.Stat_t); ok && of.Uid == 0 {
			return root.Lchown(path, int(to.Uid), int(to.Gid))
		}
		return nil
	}
	var failed []error
	for _, path := range paths {
		name, ok := inputs.InWorkspace(workspace, path)
		if !ok {
			continue
		}
		if _, err := root.Lstat(name); err == nil {
			failed = append(failed, fs.WalkDir(root.FS(), name, func(path string, _ fs.DirEntry, err error) error {
				return errors.Join(err, give(path))
			}))
		}
		for dir := filepath.Dir(name); dir != "."; dir = filepath.Dir(dir) {
			if err := give(dir); !errors.Is(err, fs.ErrNotExist) {
				failed = append(failed, err)
			}
		}
	}
	return errors.Join(failed...)
}
