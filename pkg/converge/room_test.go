package converge

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/disk"
	"github.com/shiksha/actions/pkg/backup"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/preflight/onhost"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// fakeLarge is an engine with databases of 100 GB, on a disk that has 20 GB free; deaf
// is the unit of one that cannot be asked.
type fakeLarge struct {
	backup.Engine
	deaf string
}

func (fakeLarge) Inspect(context.Context, string) (stack.Unit, error) { return stack.Unit{}, nil }
func (f fakeLarge) Exec(_ context.Context, id string, _ []string, _ []byte) (string, string, int, error) {
	if id == f.deaf {
		return "", "psql: not found", 127, nil
	}
	return fmt.Sprintf("%d\n%d\n", 100<<30, 20<<20), "", 0, nil
}

// The last dump of a database says how large its next one gets, whichever other was
// dumped since; of one without a dump its own size is what is known.
func TestHowLargeDumpsGet(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for id, text := range map[string]string{
		"orders-1": `"service":"orders","bytes":300,"taken":"2026-03-01T09:00:00Z"`,
		"orders-2": `"service":"orders","bytes":500,"taken":"2026-03-02T09:00:00Z"`,
		"other-1":  `"service":"other","bytes":7,"taken":"2026-03-03T09:00:00Z"`,
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, id+".json"), []byte(`{"schema":1,"id":"`+id+`",`+text+`}`), 0o600))
	}
	store := &backup.Store{Project: "shop", Dir: dir, Files: disk.Files{}, Engine: fakeLarge{deaf: "d"}, Sink: event.Discard}
	d := &transition{Target: &target.Target{Sink: event.Discard}}
	of := func(services ...string) onhost.Space {
		var space onhost.Space
		var from []backup.Source
		for _, s := range services {
			from = append(from, backup.Source{Service: s, Unit: stack.Unit{ID: s[:1]}})
		}
		d.dumps(t.Context(), store, from, &space)
		return space
	}
	assert.Equal(t, onhost.Space{Needs: 500}, of("orders"))
	assert.Equal(t, onhost.Space{Undumped: 100 << 30}, of("users"))
	assert.Equal(t, onhost.Space{Needs: 500, Undumped: 100 << 30}, of("orders", "users", "users"))
	assert.Equal(t, onhost.Space{}, of("deaf"), "nobody is locked out by what is not known")
}
