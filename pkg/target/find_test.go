package target

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/disk"
	"github.com/shiksha/actions/pkg/release"
)

// The system's folder that is made later takes nothing from a user's own releases.
func TestTheFolderThatHasTheProjectsStays(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		uid           string
		system, own   []string
		missing, ours bool
	}{
		"nothing anywhere":              {uid: "1000"},
		"no folder of the system":       {uid: "1000", missing: true, ours: true},
		"an empty one, and releases":    {uid: "1000", own: []string{"shop"}, ours: true},
		"both have projects":            {uid: "1000", system: []string{"crm"}, own: []string{"shop"}},
		"root":                          {uid: "0", own: []string{"shop"}},
		"root before its first release": {uid: "0", missing: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			system, own := filepath.Join(dir, "system"), filepath.Join(dir, "state", "shiksha")
			for _, p := range c.own {
				released(t, own, p)
			}
			if !c.missing {
				// Somebody who only looked makes a folder for the project as well.
				require.NoError(t, os.MkdirAll(filepath.Join(system, "looked", "releases"), 0o700))
			}
			for _, p := range c.system {
				released(t, system, p)
			}
			require.NoError(t, os.WriteFile(filepath.Join(dir, "id"), []byte("#!/bin/sh\necho "+c.uid+"\n"), 0o700))
			cmd := exec.Command("sh", "-c", findScript, "shiksha-state", system, release.ChainFile)
			cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "HOME=" + dir, "XDG_STATE_HOME=" + filepath.Join(dir, "state")}
			out, err := cmd.Output()
			require.NoError(t, err)
			want := system
			if c.ours {
				want = own
			}
			assert.Equal(t, want, strings.TrimSpace(string(out)))
		})
	}
}

// released makes a project's folder as a release leaves it.
func released(t *testing.T, dir, project string) {
	t.Helper()
	l, err := release.Open(t.Context(), disk.Files{}, dir, project)
	require.NoError(t, err)
	require.NoError(t, l.Append(t.Context(), &release.Record{Outcome: release.Verified}))
}
