package deploy

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/shiksha/actions/pkg/host"
	"github.com/shiksha/actions/pkg/platform"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// looks is how many things are looked at on the host at once.
const looks = 8

// unopened says why the stored stack of a release cannot be opened.
func unopened(ctx context.Context, l *release.Ledger, number int) error {
	sealed, err := l.ReadSealed(ctx, number)
	if err == nil {
		_, err = stack.Unseal(sealed)
	}
	return err
}

// lost tells whether a release cannot be brought back at all.
func lost(ctx context.Context, l *release.Ledger, number int) (bool, error) {
	err := unopened(ctx, l, number)
	if err != nil && (ctx.Err() != nil || host.IsConnectionLost(err)) {
		return false, err
	}
	return err != nil, nil
}

// restorable says of verified releases what a rollback to them would lack; one
// that is not in the map lacks nothing.
func restorable(ctx context.Context, t *target.Target, on platform.Platform, l *release.Ledger, all []release.Record) (map[int]string, error) {
	present := map[string]bool{}
	if on.HoldsImages() {
		var err error
		if present, err = presentImages(ctx, t, all); err != nil {
			return nil, err
		}
	}
	lacks := map[int]string{}
	for _, r := range all {
		if r.Outcome != release.Verified {
			continue
		}
		if err := unopened(ctx, l, r.Number); err != nil {
			lacks[r.Number] = fmt.Sprintf("cannot be restored: %v", err)
			continue
		}
		var gone []string
		for _, name := range slices.Sorted(maps.Keys(r.Services)) {
			if there, held := present[r.Services[name].Pinned]; held && !there {
				gone = append(gone, name)
			}
		}
		if len(gone) > 0 {
			lacks[r.Number] = "a rollback needs its registry, because the host does not have the image of " + strings.Join(gone, ", ")
		}
	}
	return lacks, nil
}

// presentImages tells which images of the releases the host has.
func presentImages(ctx context.Context, t *target.Target, all []release.Record) (map[string]bool, error) {
	present := map[string]bool{}
	for _, r := range all {
		for _, s := range r.Services {
			present[s.Pinned] = false
		}
	}
	refs := slices.Sorted(maps.Keys(present))
	there := make([]bool, len(refs))
	eg, ctx := errgroup.WithContext(ctx)
	eg.SetLimit(looks)
	for i, ref := range refs {
		eg.Go(func() (err error) {
			there[i], err = t.Engine.ImagePresent(ctx, ref)
			return err
		})
	}
	err := eg.Wait()
	for i, ref := range refs {
		present[ref] = there[i]
	}
	return present, err
}
