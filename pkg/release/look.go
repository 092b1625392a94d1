package release

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/shiksha/actions/pkg/fault"
)

// lookScript says how the lock $1 stands without taking it: a try, even of a shared
// lock, would turn away the run that tries at that moment. The kernel tells of each
// open file whether it has a lock. /proc/locks tells it too, but by the number of a
// process that may be gone (flock's own) and by a device that need not be the file's,
// so a holder in a namespace or on btrfs is not found there. Whoever may read the
// ledger is the holder's user or root, and may look at its processes. Where somebody has
// the file open and nobody a lock on it, it is on its way to somebody, or the
// kernel is too old to tell.
const lookScript = `
{ [ -d /proc/self/fdinfo ] && [ / -ef / ]; } 2>/dev/null || { echo unseen; exit 0; }
word=free
for fd in /proc/[0-9]*/fd/9; do
  [ "$fd" -ef "$1" ] || continue
  if ( while read -r key _ kind _; do
    [ "$key $kind" = "lock: FLOCK" ] && exit 0
  done <"${fd%fd/9}fdinfo/9"; exit 1 ) 2>/dev/null; then
    echo held
    exit 0
  fi
  word=unclear
done
echo "$word"
`

// lookTime is the longest that a look at the lock may take.
const lookTime = 10 * time.Second

// Hand says whether somebody has the lock.
type Hand string

// The hands that a lock may be in.
const (
	Unseen Hand = "unseen" // the host does not tell
	Free   Hand = "free"
	Held   Hand = "held"
)

// Sight is what is seen of a lock by somebody who does not take it.
type Sight struct {
	Hand Hand
	// Holder and Fence are of who holds it, zero of a run that has not signed yet.
	Holder Holder
	Fence  int64
	// Why says what kept the lock from being seen.
	Why string
}

// Standing says whether a run is at a release.
type Standing string

// The standings. Ended is of every release that has recorded how it ended.
const (
	Ended    Standing = ""
	UnderWay Standing = "under way"
	CutOff   Standing = "cut off"
	Unknown  Standing = "unknown"
)

// Of tells how a release stands by what was seen of the lock. A holder of another
// fence is another run: the one that started the release has lost the lock for good.
func (s Sight) Of(r Record) Standing {
	switch {
	case r.Outcome != Started:
		return Ended
	case s.Hand == Free:
		return CutOff
	case s.Hand != Held || s.Fence == 0:
		return Unknown
	case r.Fence != 0 && r.Fence != s.Fence:
		return CutOff
	}
	return UnderWay
}

// Title names a release in sentences: "release 12 (v2)".
func (r Record) Title() string {
	if r.Version == "" {
		return fmt.Sprintf("release %d", r.Number)
	}
	return fmt.Sprintf("release %d (%s)", r.Number, r.Version)
}

// Told says whose a release is and how and when it ended, or how it stands by what was seen
// of the lock.
func (r Record) Told(seen Sight) string {
	title := r.Title()
	standing := seen.Of(r)
	if standing == UnderWay {
		return title + " is under way, by " + seen.Holder.String()
	}
	title += " by " + Holder{RunURL: r.RunURL, Actor: r.Actor}.String()
	switch standing {
	case Ended:
		return fmt.Sprintf("%s ended as %s at %s", title, r.Outcome, moment(r.Ended))
	case CutOff:
		return fmt.Sprintf("%s, begun at %s, was cut off", title, moment(r.Started))
	}
	return fmt.Sprintf("%s, begun at %s, has recorded no end", title, moment(r.Started))
}

func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// Look sees who holds the lock of the project in dir (see Dir). It neither takes nor
// keeps it, so no run notices. What cannot be seen is Unseen, and never an error: who
// asks has more to tell.
func Look(ctx context.Context, start Starter, files Files, dir string) Sight {
	ctx, cancel := context.WithTimeoutCause(ctx, lookTime, errors.New("the host did not answer in time"))
	defer cancel()
	l := &Lock{start: start, files: files, dir: dir}
	s, err := l.look(ctx)
	if errors.As(err, &garbled{}) {
		return Sight{Hand: Unseen, Why: err.Error() + "; " + fault.Shell}
	}
	if err != nil {
		return Sight{Hand: Unseen, Why: err.Error()}
	}
	return s
}

func (l *Lock) look(ctx context.Context) (Sight, error) {
	p, err := l.start(ctx, []string{"sh", "-c", lookScript, "shiksha-look", path.Join(l.dir, "lock")})
	if err != nil {
		return Sight{}, fmt.Errorf("look at the lock: %w", err)
	}
	defer func() {
		_ = p.Stdin.Close()
		_ = p.Close()
		go p.Wait()
	}()
	word, err := firstWord(ctx, bufio.NewReader(p.Stdout))
	if err != nil {
		return Sight{}, fmt.Errorf("look at the lock: %w", err)
	}
	switch word {
	case "free":
		return Sight{Hand: Free}, nil
	case "held":
		sign, err := l.signed(ctx)
		return Sight{Hand: Held, Holder: sign.Holder, Fence: sign.Fence}, err
	case "unseen":
		return Sight{Hand: Unseen, Why: "the host has no /proc that tells of locks"}, nil
	case "unclear":
		return Sight{Hand: Unseen, Why: "somebody is at the lock, but the host does not tell whether they hold it"}, nil
	}
	return Sight{}, garbled{fmt.Errorf("look at the lock: the host answered %q", word)}
}
