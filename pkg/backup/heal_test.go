package backup_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/disk"
	"github.com/shiksha/actions/pkg/backup"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
)

// PostgreSQL cuts names that are too long by itself: two projects would be one.
func TestSessionName(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("p", 60)
	seen := map[string]bool{}
	for _, project := range []string{"shop", "shop-2", long, long + "1", long + "2", long[:32]} {
		for _, task := range []string{"migrate", "backup", "restore", "swap"} {
			variable, name := backup.SessionName(task, project)
			assert.Equal(t, "PGAPPNAME", variable)
			assert.LessOrEqual(t, len(name), 63)
			assert.Equal(t, name, strings.ToValidUTF8(name, ""))
			assert.False(t, seen[name], name)
			seen[name] = true
		}
	}
	assert.True(t, seen["shiksha-migrate/shop"])
}

// fakeTool is a database's engine that keeps what it was asked to run.
type fakeTool struct {
	fakeDisk
	task stack.Task
	exit int
}

func (f *fakeTool) RunImage(_ context.Context, _ string, t stack.Task) (stack.Ended, error) {
	f.task = t
	return stack.Ended{Exit: f.exit, Output: "no"}, nil
}

// The server may be that of other projects too: what is at work for them is not ended.
func TestHealEndsItsOwn(t *testing.T) {
	t.Parallel()
	f := &fakeTool{}
	s := &backup.Store{Project: "shop", Dir: t.TempDir(), Files: disk.Files{}, Engine: f, Sink: event.Discard}
	_, err := s.Heal(t.Context(), backup.Source{Service: "db"})
	require.NoError(t, err)
	assert.Equal(t, "shiksha-heal/shop", f.task.Env["PGAPPNAME"])
	assert.Equal(t, "shop", f.task.Command[len(f.task.Command)-1], "whose sessions the script ends")
	assert.Contains(t, f.task.Command[2], `-v project="$4"`)
	assert.Contains(t, f.task.Command[2], `'shiksha-migrate/' || :'project'`)
	f.exit = 15
	_, err = s.Heal(t.Context(), backup.Source{Service: "db"})
	assert.Contains(t, fault.Hint(err), "shiksha-.../shop", "nobody is told to end those of others by hand")
}
