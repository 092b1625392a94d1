package rollback

import (
	"cmp"
	"context"
	"errors"
	"strings"

	"github.com/shiksha/actions/pkg/content"
	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/platform"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

const elsewhere = "go back to another one (shiksha history says which can be restored), or deploy the version again from its commit"

// restore reads the stack of a release from the ledger, makes sure that its files are on the
// host still, and makes of it what it means there: its code is asked about the schema before
// the release that brings it back begins.
func restore(ctx context.Context, t *target.Target, on platform.Platform, l *release.Ledger, r release.Record) (*stack.Stack, error) {
	sealed, err := l.ReadSealed(ctx, r.Number)
	if err != nil {
		return nil, err
	}
	st, err := stack.Unseal(sealed)
	if err != nil {
		return nil, fault.New(fault.Refused, "", elsewhere, "%s cannot be restored: %w", r.Title(), err)
	}
	var files []stack.File
	for _, name := range st.Order {
		files = append(files, st.Services[name].Files...)
	}
	missing, err := t.Store(st.Name).Missing(ctx, files)
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 {
		f := missing[0]
		return nil, fault.New(fault.Refused, "", elsewhere, "%s cannot be restored: the host has no content for %s of %s any more (%d in all)",
			r.Title(), f.Target, f.Service, len(missing))
	}
	st.GoBack()
	return st, fault.Early(ctx, on.Adapt(ctx, st))
}

// address says which address the checks of the stack ask: the one that is given, its own, or
// where it was released without one that of the release that serves.
func (o Options) address(ctx context.Context, l *release.Ledger, st *stack.Stack) {
	if st.URL = cmp.Or(o.URL, st.URL); st.URL != "" {
		return
	}
	verified, _ := l.LatestVerified()
	if serving, err := l.Stack(ctx, verified.Number); err == nil {
		st.URL = serving.URL
	}
}

// stored says what to do about checks that came with a release and are not understood: their
// text cannot be mended. What is wrong with an input says so itself.
func stored(err error, st *stack.Stack, r release.Record) error {
	var f *fault.Error
	if st.Checks == nil || !errors.As(err, &f) || f.Where != "" && !strings.HasPrefix(f.Where, st.Checks.File) {
		return err
	}
	return fault.New(f.Kind, "", "go back without them (verify: false, --no-verify), or with the version of shiksha that made that release",
		"the checks that %s was made with are not understood by this version of shiksha: %w", r.Title(), err)
}

// altered names the live files, by service, that are not as the last verified release
// made them. Nobody looks where nothing came after it, or its stack cannot be read: the
// units have to say it then.
func altered(ctx context.Context, store *content.Store, on platform.Platform, l *release.Ledger) (map[string][]string, error) {
	verified, _ := l.LatestVerified()
	if newest, _ := l.LatestChange(); newest.Number <= verified.Number || verified.Number == 0 {
		return nil, nil
	}
	st, err := l.Stack(ctx, verified.Number)
	if err != nil || on.Adapt(ctx, st) != nil {
		return nil, nil
	}
	live := map[string][]string{}
	for _, svc := range st.Services {
		if svc.Ext.Reload == nil {
			continue
		}
		if live[svc.Name], err = store.Changed(ctx, svc); err != nil {
			return nil, err
		}
	}
	return live, nil
}

// images gives the images of a sealed stack as they were: what the host has needs
// no registry, what it lacks is asked of its registry by digest. What mends that comes
// before going elsewhere: a login, or a registry that answers again.
func images(t *target.Target, on platform.Platform, st *stack.Stack, r release.Record, auth engine.Auth) func(context.Context, *release.Record) (map[string]engine.Image, error) {
	return func(ctx context.Context, _ *release.Record) (map[string]engine.Image, error) {
		pinned := map[string]string{}
		for name, svc := range st.Services {
			pinned[name] = svc.Pinned
		}
		resolve := t.Engine.Resolve
		if !on.HoldsImages() {
			resolve = t.Engine.ResolveForNodes
		}
		found, err := resolve(ctx, st, pinned, auth, nil)
		if err != nil {
			hint := elsewhere
			if mend := fault.Hint(err); mend != "" {
				hint = mend + "; or " + elsewhere
			}
			return nil, fault.New(fault.Refused, "", hint, "%s cannot be restored: an image is neither on the host nor to be had: %w", r.Title(), err)
		}
		return found, nil
	}
}
