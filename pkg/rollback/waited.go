package rollback

import (
	"context"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/release"
)

// seen is the last release that may have changed something when the rollback was asked
// for. One that names where it goes, or only looks, does not ask.
func (o Options) seen(ctx context.Context, files release.Files, stateDir string) (release.Record, error) {
	if o.named() || o.DryRun {
		return release.Record{}, nil
	}
	return release.Seen(ctx, files, stateDir, o.Project)
}

// named tells whether the rollback says where it goes.
func (o Options) named() bool { return o.Release > 0 || o.Version != "" }

// overtaken refuses a rollback that names nothing where another run changed the stack
// while it waited for the lock: it would undo what nobody has looked at, such as a fix,
// or what somebody else went back to. It goes on where it undoes what was seen all the
// same: what served then, or a release that was under way and left what it made.
func (o Options) overtaken(seen release.Record, l *release.Ledger, c choice) error {
	now, _ := l.LatestChange()
	same := now.Number == seen.Number
	left := same && now.Outcome != release.Verified || seen.Outcome == release.Verified
	if o.named() || o.DryRun || same && now.Outcome == seen.Outcome || left && c.from == seen.Number {
		return nil
	}
	newest, _ := l.Latest()
	if newest.Outcome == release.Started {
		newest.Outcome = release.Interrupted
	}
	verified, _ := l.LatestVerified()
	return fault.New(fault.Refused, "", "look at what runs with shiksha status; if it is still to go back: shiksha rollback --release N; the host has "+list(l.All()),
		"%s ended as %s while this rollback waited, and %s is the last verified one: it would undo something else than when it was asked for",
		newest.Title(), newest.Outcome, verified.Title())
}
