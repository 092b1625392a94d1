package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const sample = "testdata/sample"

// The comparison that the sample's tests do not look at survives, and no other one.
func TestSample(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	survived, err := run(t.Context(), []string{"-package", sample}, &out)
	require.NoError(t, err)
	assert.Equal(t, 1, survived)
	assert.Equal(t, "sample.go:22 survives: sample.go Longer: len(a) > len(b) is true\n"+
		"testdata/sample: 5 comparisons, 10 mutants: 9 caught, 0 cannot matter, 1 survived\n", out.String())
}

// A comparison that cannot matter is excused with its reason only.
func TestKnown(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(sample)))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module sample\n"), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "testdata"), 0o700))
	list := filepath.Join(dir, "testdata", "mutants.txt")
	require.NoError(t, os.WriteFile(list, []byte("# why\nsample.go Longer: len(a) > len(b) is true  (one of them is as good)\n"), 0o600))
	var out strings.Builder
	survived, err := run(t.Context(), []string{"-package", dir}, &out)
	require.NoError(t, err)
	assert.Zero(t, survived)
	assert.Contains(t, out.String(), "9 caught, 1 cannot matter, 0 survived")

	require.NoError(t, os.WriteFile(list, []byte("sample.go Longer: len(a) > len(b) is true\n"), 0o600))
	_, err = run(t.Context(), []string{"-package", dir}, &out)
	require.ErrorContains(t, err, "mutants.txt:1: a mutant that cannot matter needs its reason")
}

// Tests that fail anyway say nothing about mutants.
func TestFailingTests(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(sample)))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module sample\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bad_test.go"), []byte("package sample\n\nimport \"testing\"\n\nfunc TestBad(t *testing.T) { t.Error(\"bad\") }\n"), 0o600))
	_, err := run(t.Context(), []string{"-package", dir}, &strings.Builder{})
	require.ErrorContains(t, err, "the tests fail without any mutant")
}

// Every comparison is found: in conditions, operands, cases, what is returned, what a
// look is told. Ways out on an error, and names of what was decided before, are none.
func TestConditions(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	source := `package p

func f(a, b int, on bool, s look) bool {
	if on && !(a == b) && err != nil {
	}
	for a < b {
	}
	switch {
	case a > 1, on:
	}
	x := a != b || on
	s.need("point", a+b > 0, "expected")
	s.say("point", x)
	g(func() bool { return a >= b })
	return s.holds(a)
}
`
	require.NoError(t, os.WriteFile(filepath.Join(dir, "p.go"), []byte(source), 0o600))
	p, err := instrument(dir, "")
	require.NoError(t, err)
	var texts []string
	for _, s := range p.sites {
		texts = append(texts, s.text)
	}
	assert.Equal(t, []string{"a == b", "a < b", "a > 1", "a != b", "a+b > 0", "a >= b", "s.holds(a)"}, texts)
	assert.Contains(t, string(p.files[filepath.Join(dir, "p.go")]), "if on && !(mutated(0, a == b)) && err != nil {")
	assert.Contains(t, string(p.files[filepath.Join(dir, "p.go")]), "return mutated(6, s.holds(a))")
	assert.Len(t, p.mutants(), 14)

	_, err = instrument(t.TempDir(), "")
	require.ErrorContains(t, err, "no comparison found")
}
