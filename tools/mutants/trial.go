package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// trial is the tests of a package, compiled once with all its mutants.
type trial struct {
	settings
	work string
}

// build compiles the tests.
func build(ctx context.Context, s settings, p *program) (*trial, error) {
	work, err := os.MkdirTemp("", "mutants-")
	if err != nil {
		return nil, err
	}
	t := &trial{s, work}
	replace := map[string]string{}
	for path, content := range p.files {
		whole, err := filepath.Abs(path)
		if err != nil {
			return nil, errors.Join(err, t.close())
		}
		replace[whole] = filepath.Join(work, filepath.Base(path))
		if err := os.WriteFile(replace[whole], content, 0o600); err != nil {
			return nil, errors.Join(err, t.close())
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err == nil {
		err = os.WriteFile(filepath.Join(work, "overlay.json"), overlay, 0o600)
	}
	if err != nil {
		return nil, errors.Join(err, t.close())
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", filepath.Join(work, "overlay.json"), "-o", t.program(), ".")
	cmd.Dir = s.pkg
	if words, err := cmd.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("compiling the mutants: %w\n%s", err, words), t.close())
	}
	return t, nil
}

func (t *trial) program() string { return filepath.Join(t.work, "mutants.test") }
func (t *trial) close() error    { return os.RemoveAll(t.work) }

// try runs the tests with one mutant; caught means that they failed.
func (t *trial) try(ctx context.Context, mutant string) (words string, caught bool) {
	ctx, cancel := context.WithTimeout(ctx, t.timeout+10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, t.program(), "-test.failfast", "-test.timeout", t.timeout.String(), "-test.skip", t.skip)
	cmd.Dir, cmd.Env = t.pkg, append(os.Environ(), "MUTANT="+mutant)
	// A mutant may have left something running that holds the output open.
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err != nil
}

// all tries every mutant, some at a time, and tells of each as it is known.
func (t *trial) all(ctx context.Context, mutants []mutant, told func(m mutant, caught bool)) error {
	next := make(chan mutant)
	var telling sync.Mutex
	var workers sync.WaitGroup
	for range max(1, t.jobs) {
		workers.Go(func() {
			for m := range next {
				_, caught := t.try(ctx, fmt.Sprintf("%d=%t", m.id, m.value))
				telling.Lock()
				if ctx.Err() == nil {
					told(m, caught)
				}
				telling.Unlock()
			}
		})
	}
	for _, m := range mutants {
		if ctx.Err() != nil {
			break
		}
		next <- m
	}
	close(next)
	workers.Wait()
	return context.Cause(ctx)
}

// readKnown reads the mutants of a package that cannot matter: a line each, with the
// reason behind it in parentheses.
func readKnown(dir string) (map[string]bool, error) {
	known := map[string]bool{}
	file, err := os.Open(filepath.Join(dir, "testdata", "mutants.txt"))
	if errors.Is(err, fs.ErrNotExist) {
		return known, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, reason, ok := strings.Cut(line, "  (")
		if !ok || reason == "" {
			return nil, fmt.Errorf("%s:%d: a mutant that cannot matter needs its reason, in parentheses", file.Name(), n)
		}
		known[strings.TrimSpace(key)] = true
	}
	return known, lines.Err()
}
