package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// debianMirror serves machines whose own sources are not Debian bookworm's.
const debianMirror = "http://deb.debian.org/debian"

// needed maps a program to the package that brings it.
var needed = []struct{ program, pkg string }{
	{"debootstrap", "debootstrap"},
	{"docker-registry", "docker-registry"},
	{"/usr/sbin/sshd", "openssh-server"},
	{"promtool", "prometheus"},
	{"amtool", "prometheus-alertmanager"},
	{"/usr/share/keyrings/debian-archive-keyring.gpg", "debian-archive-keyring"},
}

// ensurePackages installs what is missing; Docker only where none answers.
func (l *Lab) ensurePackages(ctx context.Context) error {
	var missing []string
	for _, n := range needed {
		if !present(n.program) {
			missing = append(missing, n.pkg)
		}
	}
	if !present("dockerd") && !l.engineAnswers(ctx) {
		missing = append(missing, "docker.io", "iptables")
	}
	if len(missing) == 0 {
		return nil
	}
	if !present("apt-get") {
		return fmt.Errorf("this machine lacks %s and has no apt-get: install them and try again", strings.Join(missing, ", "))
	}
	l.say("reading the package lists")
	if err := l.apt(ctx, "update", "-qq"); err != nil {
		return err
	}
	if slices.Contains(missing, "docker.io") && !present("docker") {
		// From Debian 13 on the client is a package of its own.
		if exec.CommandContext(ctx, "apt-cache", "show", "docker-cli").Run() == nil {
			missing = append(missing, "docker-cli")
		}
	}
	quiet, err := holdServices()
	if err != nil {
		return err
	}
	l.say("installing %s from the distribution", strings.Join(missing, ", "))
	err = l.apt(ctx, append([]string{"install", "-qq", "-y", "--no-install-recommends"}, missing...)...)
	return errors.Join(err, quiet())
}

func (l *Lab) apt(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_MODE=l")
	return l.logged(cmd, "apt.log")
}

// holdServices keeps the packages from starting servers of their own (a second
// sshd, a registry on our port) while they are installed, by the file Debian has
// for it. A machine that has such a file knows what it wants.
func holdServices() (release func() error, err error) {
	const policy = "/usr/sbin/policy-rc.d"
	file, err := os.OpenFile(policy, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if errors.Is(err, os.ErrExist) {
		return func() error { return nil }, nil
	}
	if err != nil {
		return nil, err
	}
	_, err = file.WriteString("#!/bin/sh\nexit 101\n")
	return func() error { return os.Remove(policy) }, errors.Join(err, file.Close())
}

// present tells whether a program is in the PATH, or a file exists.
func present(program string) bool {
	if filepath.IsAbs(program) {
		_, err := os.Stat(program)
		return err == nil
	}
	_, err := exec.LookPath(program)
	return err == nil
}

// sources are the machine's own places to get Debian bookworm from, so that
// what is built in containers comes from where this machine may get it.
type sources struct {
	mirror string   // of the suite "bookworm"
	lines  []string // for /etc/apt/sources.list
}

// readSources reads apt's source lists below dir ("/etc/apt").
func readSources(dir string) sources {
	var s sources
	files, _ := filepath.Glob(filepath.Join(dir, "sources.list.d", "*"))
	for _, path := range append([]string{filepath.Join(dir, "sources.list")}, files...) {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		switch filepath.Ext(path) {
		case ".list":
			s.addLines(string(text))
		case ".sources":
			s.addStanzas(string(text))
		}
	}
	if s.mirror == "" {
		s = sources{}
		s.add(debianMirror, []string{"bookworm"}, []string{"main"})
	}
	return s
}

// addLines reads the one-line form: deb [options] uri suite components.
func (s *sources) addLines(text string) {
	for line := range strings.Lines(text) {
		if open, rest, found := strings.Cut(line, "["); found && strings.TrimSpace(open) == "deb" {
			_, rest, _ = strings.Cut(rest, "]")
			line = "deb " + rest
		}
		if words := strings.Fields(line); len(words) >= 4 && words[0] == "deb" {
			s.add(words[1], words[2:3], words[3:])
		}
	}
}

// addStanzas reads the deb822 form.
func (s *sources) addStanzas(text string) {
	for stanza := range strings.SplitSeq(text, "\n\n") {
		field := map[string][]string{}
		for line := range strings.Lines(stanza) {
			if key, value, found := strings.Cut(line, ":"); found && !strings.HasPrefix(line, "#") {
				field[strings.ToLower(key)] = strings.Fields(value)
			}
		}
		if slices.Contains(field["types"], "deb") && !slices.Contains(field["enabled"], "no") {
			for _, uri := range field["uris"] {
				s.add(uri, field["suites"], field["components"])
			}
		}
	}
}

func (s *sources) add(uri string, suites, components []string) {
	if !slices.Contains(components, "main") {
		return
	}
	for _, suite := range suites {
		switch suite {
		case "bookworm":
			s.mirror = uri
		case "bookworm-updates", "bookworm-security":
		default:
			continue
		}
		s.lines = append(s.lines, "deb "+uri+" "+suite+" main")
	}
}

// aptSettings are the machine's settings that decide whether its package mirror
// can be used, as lines for apt.conf.
func aptSettings(ctx context.Context) string {
	dump, err := exec.CommandContext(ctx, "apt-config", "dump").Output()
	if err != nil {
		return ""
	}
	var kept strings.Builder
	for line := range strings.Lines(string(dump)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		wanted := strings.HasPrefix(name, "Acquire::") && (strings.HasSuffix(name, "::Proxy") || strings.Contains(name, "::Check-"))
		if wanted && value != `"";` {
			kept.WriteString(line)
		}
	}
	return kept.String()
}
