package release

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/fault"
)

// behind starts processes by a shell that runs its start file first.
func behind(startFile string) Starter {
	return func(ctx context.Context, argv []string) (Process, error) {
		return startLocal(ctx, append([]string{"sh", "-c", startFile + "\n" + `exec "$@"`, "shell"}, argv...))
	}
}

// What a shell prints, or a shell that runs nothing, is told as what it is.
func TestALockBehindAShellThatPrints(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ startFile, says string }{
		"a greeting":     {"echo Welcome to gpu1", `the host answered "Welcome to gpu1"`},
		"no login":       {"echo This account is currently not available.; exit 1", `the host answered "This account is currently not available."`},
		"not one word":   {"exit 1", "the process on the host ended without a word"},
		"half a word":    {"printf Hi; exit 1", "the process on the host ended without a word"},
		"no line's end":  {"printf Hi", `the host answered "Hi`},
		"an empty line":  {"echo", `the host answered ""`},
		"a word of ours": {"echo busy bee", `the host answered "busy bee"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "shop")
			_, err := Acquire(t.Context(), behind(c.startFile), localFiles{}, dir, Holder{Actor: "ann"}, Options{})
			assert.ErrorContains(t, err, "take the lock: "+c.says)
			assert.Equal(t, fault.Refused, fault.Of(err))
			assert.Equal(t, fault.Shell, fault.Hint(err))

			seen := Look(t.Context(), behind(c.startFile), localFiles{}, dir)
			assert.Equal(t, Unseen, seen.Hand)
			assert.Contains(t, seen.Why, c.says)
			assert.Contains(t, seen.Why, fault.Shell)
			assert.NotContains(t, seen.Why, "/proc")
		})
	}
}

// A lock that is taken again within a release is not refused for that: what it has changed is changed.
func TestALockThatIsTakenAgainAnswersNothing(t *testing.T) {
	t.Parallel()
	lock, err := take(t, filepath.Join(t.TempDir(), "shop"), "ann", Options{})
	assert.NoError(t, err)
	lock.start = behind("exit 1")
	err = lock.Regain(t.Context())
	assert.ErrorContains(t, err, "ended without a word")
	assert.NotEqual(t, fault.Refused, fault.Of(err))
}

// The time that a run has waited is mostly the default: to name that would be no help.
func TestTheHintOfALockThatWasWaitedFor(t *testing.T) {
	t.Parallel()
	err := locked(Holder{Actor: "ann"}, 10*time.Minute)
	assert.Contains(t, fault.Hint(err), "let it wait longer (--lock-wait; lock-wait in a workflow)")
	assert.NotContains(t, fault.Hint(err), "10m")
}
