package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"
)

// scripts are the steps of a job of the release workflow that are shell, by name or
// id, in their order.
func scripts(t *testing.T, job string) (names []string, run map[string]string) {
	t.Helper()
	text, err := os.ReadFile("../../.github/workflows/release.yml")
	require.NoError(t, err)
	var workflow struct {
		Jobs map[string]struct {
			Steps []struct{ Name, ID, Run string }
		}
	}
	require.NoError(t, yaml.Unmarshal(text, &workflow))
	run = map[string]string{}
	for _, step := range workflow.Jobs[job].Steps {
		if name := step.Name + step.ID; step.Run != "" {
			names, run[name] = append(names, name), step.Run
		}
	}
	require.NotEmpty(t, names, job)
	return names, run
}

// checkout is a clone of a repository like this one, with what a release needs, and
// runs scripts in it as the runner does.
type checkout struct {
	t      *testing.T
	dir    string
	origin string
	env    []string
}

func newCheckout(t *testing.T) *checkout {
	t.Helper()
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	c := &checkout{t: t, dir: filepath.Join(t.TempDir(), "work"), origin: filepath.Join(t.TempDir(), "origin.git")}
	require.NoError(t, os.Mkdir(c.dir, 0o755))
	// tar, since cp has no way to say what to take.
	c.must(root, "sh", "-c", `tar --create --exclude='*_test.go' Makefile go.mod go.sum third_party tools/release action.yml README.md LICENSE CHANGELOG.md changes .github/workflows actions/*/action.yml actions/*/README.md | tar --extract --directory "$1"`, "sh", c.dir)
	for of, change := range map[string]string{"v1.2.3": "- first", "v1.2.4": "- second", "v1.3.0": "- third"} {
		require.NoError(t, os.Mkdir(filepath.Join(c.dir, "changes", of), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(c.dir, "changes", of, "one.md"), []byte(change+"\n"), 0o644))
	}
	c.must(c.dir, "git", "init", "--quiet", "--initial-branch", "main")
	c.commit()
	c.must(c.dir, "git", "init", "--quiet", "--bare", c.origin)
	c.must(c.dir, "git", "remote", "add", "origin", c.origin)
	c.must(c.dir, "git", "push", "--quiet", "origin", "main")
	c.must(c.dir, "git", "fetch", "--quiet", "origin")
	return c
}

func (c *checkout) commit() string {
	c.t.Helper()
	c.must(c.dir, "git", "add", ".")
	c.must(c.dir, "git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--quiet", "--allow-empty", "--message", "work")
	return c.must(c.dir, "git", "rev-parse", "HEAD")
}

func (c *checkout) must(dir, name string, args ...string) string {
	c.t.Helper()
	cmd := exec.CommandContext(c.t.Context(), name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(c.t, err, "%s %v: %s", name, args, out)
	return strings.TrimSpace(string(out))
}

// run runs a script as the runner does where a step names no shell.
func (c *checkout) run(script string, env ...string) (string, error) {
	file := filepath.Join(c.t.TempDir(), "script.sh")
	require.NoError(c.t, os.WriteFile(file, []byte(script), 0o600))
	cmd := exec.CommandContext(c.t.Context(), "bash", "-e", file)
	cmd.Dir = c.dir
	cmd.Env = append(append(os.Environ(), c.env...), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// fakeGitHub puts a cosign, a docker and a gh first in the PATH that only write down how they were
// called: what they would do needs GitHub. This gh knows the releases that it made, and
// makes none while the file broken is there.
func (c *checkout) fakeGitHub() (calls, broken string) {
	dir := c.t.TempDir()
	calls, broken = filepath.Join(dir, "calls"), filepath.Join(dir, "broken")
	for name, does := range map[string]string{
		"cosign": "",
		"docker": `test ! -e private || { echo "denied" >&2; exit 1; }; test ! -e "$DOCKER_CONFIG/config.json"`,
		"gh":     `case "$2" in view) test -e "$3" ;; create) test ! -e broken && test ! -e "$3" && touch "$3" ;; esac`,
	} {
		text := fmt.Sprintf("#!/bin/sh\ncd %s || exit\necho %s \"$@\" >> calls\n%s\n", dir, name, does)
		require.NoError(c.t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755))
	}
	c.env = append(c.env, "PATH="+dir+":"+os.Getenv("PATH"))
	return calls, broken
}

// publish runs the job publish for a version.
func (c *checkout) publish(version string) {
	c.t.Helper()
	failed, out := c.tryPublish(version, image)
	require.Empty(c.t, failed, out)
}

// tryPublish runs the job publish, and gives the step that failed with what it said.
func (c *checkout) tryPublish(version, image string) (failed, out string) {
	c.t.Helper()
	names, steps := scripts(c.t, "publish")
	temp := c.t.TempDir()
	for _, name := range names {
		out, err := c.run(steps[name], "VERSION="+version, "IMAGE="+image, "RUNNER_TEMP="+temp, "GITHUB_ACTOR=meera", "TOKEN=t", "GH_TOKEN=t",
			"GITHUB_SHA="+c.must(c.dir, "git", "rev-parse", "HEAD"))
		if err != nil {
			return name, out
		}
	}
	return "", ""
}

// The commands of the release workflow, run on a repository: the version's tag is a
// commit with the tree and the workflows as they were, on top of the source, and v1 follows the
// newest version only.
func TestWorkflowTagsTheTree(t *testing.T) {
	t.Parallel()
	c := newCheckout(t)
	calls, _ := c.fakeGitHub()
	source := c.must(c.dir, "git", "rev-parse", "HEAD")
	c.publish("v1.2.3")
	at := func(ref string) string { return c.must(c.origin, "git", "rev-parse", ref) }
	assert.Equal(t, source, at("v1.2.3^"))
	assert.Equal(t, at("v1.2.3"), at("v1"))
	assert.Equal(t, ".github\nLICENSE\nREADME.md\naction.yml\nbuild\ndeploy\nrollback\nverify", c.must(c.origin, "git", "ls-tree", "--name-only", "v1"))
	assert.Empty(t, c.must(c.origin, "git", "diff", "--name-only", "v1^", "v1", "--", ".github"), "GitHub's token may not change workflows")
	assert.Contains(t, c.must(c.origin, "git", "show", "v1:deploy/action.yml"), "image: docker://"+image)
	assert.Empty(t, c.must(c.dir, "git", "status", "--porcelain"), "the checkout is as it was")

	c.commit()
	c.publish("v1.3.0")
	newest := at("v1.3.0")
	assert.Equal(t, newest, at("v1"))
	c.publish("v1.2.4")
	assert.Equal(t, newest, at("v1"), "a fix of an older line does not take v1 back")
	assert.NotEqual(t, newest, at("v1.2.4"))

	told, err := os.ReadFile(calls)
	require.NoError(t, err)
	for _, call := range []string{"cosign login ghcr.io --username meera --password-stdin\n", "cosign sign --yes --recursive " + image + "\n",
		"gh release create v1.2.3 --verify-tag --title v1.2.3 --notes-file "} {
		assert.Contains(t, string(told), call)
	}
}

// While strangers cannot pull the image there is no version: no job of theirs that
// names it could begin.
func TestWorkflowPublishesWhatAnybodyCanPull(t *testing.T) {
	t.Parallel()
	c := newCheckout(t)
	calls, _ := c.fakeGitHub()
	private := filepath.Join(filepath.Dir(calls), "private")
	require.NoError(t, os.WriteFile(private, nil, 0o600))
	failed, out := c.tryPublish("v1.2.3", image)
	assert.Equal(t, "Pull the image as anybody", failed)
	assert.Contains(t, out, "::error::nobody but this repository can pull "+image+": make the package public")
	assert.Empty(t, c.must(c.origin, "git", "tag", "--list"))

	require.NoError(t, os.Remove(private))
	c.publish("v1.2.3")
	told, err := os.ReadFile(calls)
	require.NoError(t, err)
	assert.Contains(t, string(told), "docker pull --quiet "+image+"\n")
}

// A run that was cut off after it had tagged the version is run again, from whichever
// job: the version stays what it was, and what was left out is done.
func TestWorkflowPublishesAgain(t *testing.T) {
	t.Parallel()
	c := newCheckout(t)
	calls, broken := c.fakeGitHub()
	require.NoError(t, os.WriteFile(broken, nil, 0o600))
	hook := filepath.Join(c.origin, "hooks", "update")
	require.NoError(t, os.WriteFile(hook, []byte("#!/bin/sh\ntest \"$1\" != refs/tags/v1\n"), 0o755))
	at := func(ref string) string { return c.must(c.origin, "git", "rev-parse", ref) }

	failed, out := c.tryPublish("v1.2.3", image)
	require.Equal(t, "Tag the release tree", failed, out)
	first := at("v1.2.3")
	_, steps := scripts(t, "check")
	out, err := c.run(steps["version"], "GITHUB_REF_NAME=release-v1.2.3", "GITHUB_OUTPUT="+filepath.Join(t.TempDir(), "outputs"))
	require.NoError(t, err, "the version is this commit's: %s", out)

	require.NoError(t, os.Remove(hook))
	another := strings.Replace(image, "sha256:0123", "sha256:4567", 1)
	failed, out = c.tryPublish("v1.2.3", another)
	require.Equal(t, "Publish the notes", failed, out)
	assert.Equal(t, first, at("v1"))

	require.NoError(t, os.Remove(broken))
	for range 2 {
		failed, out = c.tryPublish("v1.2.3", another)
		require.Empty(t, failed, out)
	}
	assert.Equal(t, first, at("v1.2.3"), "whoever has it has the same still")
	told, err := os.ReadFile(calls)
	require.NoError(t, err)
	assert.Equal(t, 2, strings.Count(string(told), "gh release create v1.2.3 "), "%s", told)

	c.commit()
	failed, out = c.tryPublish("v1.2.3", image)
	assert.Equal(t, "Tag the release tree", failed)
	assert.Contains(t, out, "already exists", "a version of another commit is not this one's")
}

// A release begins only from main, once for each version, and with notes.
func TestWorkflowChecksTheVersion(t *testing.T) {
	t.Parallel()
	c := newCheckout(t)
	_, steps := scripts(t, "check")
	outputs := filepath.Join(t.TempDir(), "outputs")
	begin := func(version string) (string, error) {
		return c.run(steps["version"], "GITHUB_REF_NAME=release-"+version, "GITHUB_OUTPUT="+outputs)
	}
	out, err := begin("v1.2.3")
	require.NoError(t, err, out)
	assert.Contains(t, out, "- first")
	set, err := os.ReadFile(outputs)
	require.NoError(t, err)
	assert.Equal(t, "version=v1.2.3\n", string(set))

	out, err = begin("v9.9.9")
	assert.Error(t, err)
	assert.Contains(t, out, "changes/v9.9.9 says nothing of v9.9.9")
	c.must(c.dir, "git", "tag", "v1.2.3") // of another commit: this one is not its parent
	out, err = begin("v1.2.3")
	assert.Error(t, err)
	assert.Contains(t, out, "::error::v1.2.3 is released already")
	c.commit()
	out, err = begin("v1.2.4")
	assert.Error(t, err)
	assert.Contains(t, out, "::error::release-v1.2.4 is not on main")
}
