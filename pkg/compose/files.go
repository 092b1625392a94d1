package compose

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
)

// The modes that files have on the host. Of the checkout's mode only the
// executable bit counts, because umask and git decide the rest and the hash has
// to be the same on every runner. Secrets are 0444 as in Compose and Swarm:
// whatever user the container runs as has to read them, and the state folder
// above them, 0700, keeps everybody else on the host out.
const (
	modeFile   = 0o644
	modeExec   = 0o755
	modeSecret = 0o444
)

// addFiles moves what a service mounts from the workspace to the host: its
// binds, and the configs and secrets that come from a file.
func (l *loading) addFiles(s *stack.Stack, p *types.Project, c *types.ServiceConfig) error {
	service := s.Services[c.Name]
	for i, v := range c.Volumes {
		if v.Type != types.VolumeTypeBind || !l.ws.lexically(v.Source) {
			continue // a path of the host
		}
		at := "services." + c.Name + ".volumes"
		file, err := l.addFile(s, service, at, v.Source, v.Target, 0)
		if err != nil {
			return err
		}
		if !v.ReadOnly {
			at := l.ws.rel(v.Source) + " at " + v.Target
			l.shut[at] = append(l.shut[at], c.Name)
		}
		c.Volumes[i] = mount(v, file)
	}
	for _, ref := range c.Configs {
		if config := p.Configs[ref.Source]; config.File != "" {
			if err := l.addReference(s, c, "configs."+ref.Source, config.File, types.FileReferenceConfig(ref), "/", 0); err != nil {
				return err
			}
		}
	}
	for _, ref := range c.Secrets {
		if secret := p.Secrets[ref.Source]; secret.File != "" {
			if err := l.addReference(s, c, "secrets."+ref.Source, secret.File, types.FileReferenceConfig(ref), stack.SecretsFolder, modeSecret); err != nil {
				return err
			}
		}
	}
	c.Configs = slices.DeleteFunc(c.Configs, func(r types.ServiceConfigObjConfig) bool { return p.Configs[r.Source].File != "" })
	c.Secrets = slices.DeleteFunc(c.Secrets, func(r types.ServiceSecretConfig) bool { return p.Secrets[r.Source].File != "" })
	if len(c.Configs) == 0 {
		c.Configs = nil
	}
	if len(c.Secrets) == 0 {
		c.Secrets = nil
	}
	slices.SortFunc(service.Files, func(a, b stack.File) int { return strings.Compare(a.Target, b.Target) })
	if service.Ext.Reload != nil && len(service.Files) == 0 {
		l.warn("service %s has x-shiksha.reload but mounts no file of the repository, so there is nothing to reload for", c.Name)
	}
	return nil
}

// warnOfShut tells which folders and files are read-only that the file does not say so of,
// each once: stacks of fifty services mount one folder in most of them.
func (l *loading) warnOfShut() {
	for _, at := range sortedKeys(l.shut) {
		who := "service " + l.shut[at][0] + " mounts"
		if len(l.shut[at]) > 1 {
			who = "services " + strings.Join(l.shut[at], ", ") + " mount"
		}
		l.warn("%s %s read-only, because a release's files do not change: say `:ro`, or keep data in a named volume", who, at)
	}
}

// addReference mounts a config or secret that comes from a file, where Compose
// would. A volume at the same place wins, as it does there.
func (l *loading) addReference(s *stack.Stack, c *types.ServiceConfig, at, source string, ref types.FileReferenceConfig, folder string, mode uint32) error {
	target := ref.Target
	switch {
	case target == "":
		target = folder + ref.Source
	case !strings.HasPrefix(target, "/"):
		target = folder + target
	}
	target = path.Clean(target)
	if slices.ContainsFunc(c.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Target == target }) {
		return nil
	}
	if ref.Mode != nil {
		mode = uint32(*ref.Mode) & 0o777
	}
	if ref.UID != "" || ref.GID != "" {
		l.warn("service %s: uid and gid of %s mean nothing for a file: it is mounted as it is, as Compose does", c.Name, at)
	}
	file, err := l.addFile(s, s.Services[c.Name], at+".file", source, target, mode)
	if err != nil {
		return err
	}
	c.Volumes = append(c.Volumes, mount(types.ServiceVolumeConfig{Type: types.VolumeTypeBind, Target: target}, file))
	return nil
}

// mount is the bind of a file's place on the host. It is read-only: units of
// other releases mount the same bytes. The engine must not make a folder where
// a file is missing, except where SELinux labels leave no other way to mount.
func mount(v types.ServiceVolumeConfig, f stack.File) types.ServiceVolumeConfig {
	bind := types.ServiceVolumeBind{}
	if v.Bind != nil {
		bind = *v.Bind
	}
	bind.CreateHostPath = types.OptOut(bind.SELinux != "")
	if bind.SELinux == "Z" {
		// The label of one container alone would take the file from the units that serve,
		// which mount the same bytes, as soon as the next one starts.
		bind.SELinux = "z"
	}
	v.Bind = &bind
	v.Source = f.HostPath
	v.ReadOnly = true
	return v
}

// addFile reads a file or directory of the workspace and settles its place on
// the host. Mode 0 stands for what the checkout says.
func (l *loading) addFile(s *stack.Stack, service *stack.Service, at, source, target string, mode uint32) (stack.File, error) {
	f := stack.File{Service: service.Name, Target: target, Source: l.ws.rel(source), Live: service.Ext.Reload != nil, Secret: isSecret(at)}
	real, err := l.ws.confine(source)
	if err != nil {
		return f, l.input(at, fileHint(at, errors.Is(err, os.ErrNotExist)), "%s: %s: %w", at, f.Source, err)
	}
	info, err := os.Stat(real)
	if err != nil {
		return f, l.input(at, "", "%s: %s cannot be read: %w", at, f.Source, cause(err))
	}
	reader := &fileReader{l: l, at: at, mode: mode}
	if f.Dir = info.IsDir(); f.Dir {
		err = reader.dir(real, "", nil)
		slices.SortFunc(reader.entries, func(a, b stack.Entry) int { return strings.Compare(a.Path, b.Path) })
		f.Sum = sumOfDir(reader.entries)
	} else if err = reader.file(real, "", info); err == nil {
		f.Sum = reader.entries[0].Sum
		if mode := reader.entries[0].Mode; mode != modeFile {
			f.Sum = sum(fmt.Appendf(nil, "%04o %s", mode, f.Sum))
		}
	}
	if err != nil {
		return f, err
	}
	if f.Live && !f.Dir {
		// It is kept in a folder of its sum. The same content mounted as it is, in
		// another service or before there was a reload, is a file of its own sum.
		f.Sum = sum([]byte("live " + f.Sum))
	}
	f.Entries = reader.entries
	f.HostPath = path.Join(s.Dir, "files", f.Sum)
	if f.Live {
		f.HostPath = path.Join(s.Dir, "live", service.Name, escape(target))
	}
	service.Files = append(service.Files, f)
	service.FileSecrets = append(service.FileSecrets, reader.secrets...)
	return f, nil
}

// isSecret tells whether what stands at a key of the file is a secret.
func isSecret(at string) bool { return strings.HasPrefix(at, "secrets.") }

// fileReader collects the regular files below a path of the workspace.
type fileReader struct {
	l       *loading
	at      string
	mode    uint32
	entries []stack.Entry
	// secrets are what of the content must not be shown, where it is a secret's.
	secrets []string
	skipped bool
}

// dir reads a directory. Links inside it are followed, as long as they stay in
// the workspace; parents are the directories above, which a link must not lead
// back to. Empty directories do not count: git does not keep them either.
func (r *fileReader) dir(real, rel string, parents []string) error {
	if err := r.l.ctx.Err(); err != nil {
		return fmt.Errorf("reading %s: %w", r.l.ws.rel(real), err)
	}
	if slices.Contains(parents, real) {
		return r.bad(real, "take the link out", "a link leads back to a folder above it")
	}
	entries, err := os.ReadDir(real)
	if err != nil {
		return r.bad(real, "", "cannot be read: %w", cause(err))
	}
	for _, e := range entries {
		name := path.Join(rel, e.Name())
		if e.Name() == ".git" {
			// actions/checkout leaves a token in it, and it changes with every commit.
			if !r.skipped {
				r.l.warn("%s: .git is left out of %s", r.at, r.l.ws.rel(real))
				r.skipped = true
			}
			continue
		}
		if !validName(e.Name()) {
			return r.bad(real, "rename it", "the name %q holds characters that a path on the host must not have", e.Name())
		}
		full, err := r.l.ws.confine(filepath.Join(real, e.Name()))
		if err != nil {
			return r.bad(filepath.Join(real, e.Name()), fileHint(r.at, errors.Is(err, os.ErrNotExist)), "%w", err)
		}
		info, err := os.Stat(full)
		if err != nil {
			return r.bad(full, "", "cannot be read: %w", cause(err))
		}
		if info.IsDir() {
			err = r.dir(full, name, append(slices.Clone(parents), real))
		} else {
			err = r.file(full, name, info)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *fileReader) file(real, rel string, info os.FileInfo) error {
	if !info.Mode().IsRegular() {
		return r.bad(real, "mount devices and sockets of the host by their absolute path", "it is neither a file nor a folder")
	}
	content, err := os.ReadFile(real)
	if err != nil {
		return r.bad(real, "", "cannot be read: %w", cause(err))
	}
	mode := r.mode
	if mode == 0 {
		if mode = modeFile; info.Mode()&0o100 != 0 {
			mode = modeExec
		}
	}
	if isSecret(r.at) {
		r.secrets = append(r.secrets, stack.SecretsInFile(string(content))...)
	}
	r.entries = append(r.entries, stack.Entry{Path: rel, Source: real, Mode: mode, Sum: sum(content)})
	return nil
}

func (r *fileReader) bad(file, hint, format string, args ...any) error {
	err := fault.New(fault.Input, r.l.scan.place(r.at, r.l.main()), hint, format, args...)
	err.Err = fmt.Errorf("%s: %s: %w", r.at, r.l.ws.rel(file), err.Err)
	return err
}

// validName tells whether a name can be a component of a path on the host.
func validName(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= 255 && utf8.ValidString(name) &&
		!strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '/' })
}

func sum(content []byte) string {
	s := sha256.Sum256(content)
	return hex.EncodeToString(s[:])
}

// sumOfDir is the hash of a directory: of its sorted paths, modes and sums.
func sumOfDir(entries []stack.Entry) string {
	h := sha256.New()
	fmt.Fprintln(h, "dir")
	for _, e := range entries {
		fmt.Fprintf(h, "%q %04o %s\n", e.Path, e.Mode, e.Sum)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// escape makes one path component of a mount target, different for different
// targets.
func escape(target string) string {
	var b strings.Builder
	for i := range len(target) {
		switch c := target[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.' && i > 0:
			b.WriteByte(c)
		case i == 0 && c == '/':
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	if name := b.String(); validName(name) {
		return name
	}
	return sum([]byte(target))
}
