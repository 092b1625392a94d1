package verify

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/fault"
)

// The project is the one that a release of the same files has.
func TestProjectOfTheComposeFiles(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		given         string
		files         []string
		want, refused string
	}{
		"named":                   {"", []string{"name: shop"}, "shop", ""},
		"as Compose writes it":    {"", []string{"name: My Shop"}, "myshop", ""},
		"the last one that names": {"", []string{"name: base", "name: shop", "services: {}"}, "shop", ""},
		"the folder":              {"", []string{"services: {}"}, "folder", ""},
		"given":                   {"other", []string{"name: ${FOO:-shop}"}, "other", ""},
		"a variable":              {"", []string{"services: {}\nname: ${FOO:-shop}"}, "", "0.yaml:2: the project's name has a variable: ${FOO:-shop}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := &Options{Settings: Settings{Project: c.given}, Workspace: t.TempDir(), Folder: "Folder"}
			for i, text := range c.files {
				file := string(rune('0'+i)) + ".yaml"
				o.ComposeFiles = append(o.ComposeFiles, file)
				require.NoError(t, os.WriteFile(filepath.Join(o.Workspace, file), []byte(text), 0o600))
			}
			_, err := o.compose()
			if c.refused != "" {
				require.ErrorContains(t, err, c.refused)
				assert.Equal(t, fault.Input, fault.Of(err))
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, o.Project)
		})
	}
}

func TestConclude(t *testing.T) {
	t.Parallel()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	unknown := &check.Report{Results: []check.Result{{Name: "a", Required: true, Outcome: check.Unknown}}}
	failed := fault.New(fault.Failed, "", "", "x")
	for name, c := range map[string]struct {
		ctx     context.Context
		report  *check.Report
		err     error
		outcome string
		kind    fault.Kind
	}{
		"well":                  {t.Context(), &check.Report{}, nil, Verified, 0},
		"a check fails":         {t.Context(), &check.Report{Results: []check.Result{{Name: "a", Required: true, Outcome: check.Fail}}}, failed, Failed, fault.Failed},
		"nobody knows":          {t.Context(), unknown, failed, Undecided, fault.Refused},
		"cancelled":             {cancelled, unknown, context.Canceled, "interrupted", fault.Interrupted},
		"cancelled on the way":  {cancelled, nil, fault.As(fault.Refused, errors.New("cut off")), "interrupted", fault.Interrupted},
		"cancelled when it was": {cancelled, &check.Report{}, nil, Verified, 0},
	} {
		r := &Result{Report: c.report}
		err := r.conclude(c.ctx, check.Fail, c.err)
		assert.Equal(t, c.outcome, r.Outcome, name)
		if c.kind == 0 {
			require.NoError(t, err, name)
			continue
		}
		assert.Equal(t, c.kind, fault.Of(err), name)
	}
}
