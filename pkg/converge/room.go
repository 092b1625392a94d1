package converge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/shiksha/actions/pkg/backup"
	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/gateway"
	"github.com/shiksha/actions/pkg/host"
	"github.com/shiksha/actions/pkg/layers"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/preflight/image"
	"github.com/shiksha/actions/pkg/preflight/onhost"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// classify asks the running gateways whether they can be switched for the
// services that will be replaced.
func (d *transition) classify(ctx context.Context) error {
	for i, step := range d.plan.Steps {
		if step.Gateway == "" || !step.Replaces() || step.Action == plan.Create || step.Virtual {
			continue
		}
		for _, u := range d.facts.observed.Units[step.Gateway] {
			if u.OneOff || !u.Serving() {
				continue
			}
			svc := d.opts.Stack.Services[step.Service]
			f, err := d.Nginx(d.on, u).Classify(ctx, svc.Name, svc.Ext.Port, d.names(svc)...)
			if err != nil {
				return fmt.Errorf("read the configuration of %s: %w", u.Name, err)
			}
			d.judge(f, d.opts.Back != nil && goesFirst(u, f, d.plan.Steps[:i]))
		}
	}
	return d.leftBehind(ctx)
}

// names is what a gateway may call a service, and what it calls others.
func (d *transition) names(svc *stack.Service) []gateway.NameOption {
	return []gateway.NameOption{gateway.Aliases(d.opts.Stack.Aliases(svc.Name)...), gateway.OtherServices(d.opts.Stack.Order...)}
}

// judge puts what a gateway is found to be into the plan. What runs is judged, and not what
// it is about to be: one that goes back first is another by the time that it is switched,
// and in a release its mend comes after what it would lose requests of.
func (d *transition) judge(f gateway.Finding, goesBack bool) {
	text := f.Text
	if f.Hint != "" {
		text += "; " + f.Hint
	}
	alone := fmt.Sprintf("%s alone first (input services: %[1]s, or --services %[1]s)", f.Gateway)
	switch {
	case f.Verdict == gateway.Refused && goesBack:
		d.plan.Notes = append(d.plan.Notes, fmt.Sprintf("%s; that is as it runs now, and %s goes back first", f.Text, f.Gateway))
	case f.Verdict == gateway.Refused && d.opts.Back != nil:
		d.plan.Refusals = append(d.plan.Refusals, text+"; no rollback mends that: deploy the version to go back to with the mend in its files, "+alone)
	case f.Verdict == gateway.Refused:
		d.plan.Refusals = append(d.plan.Refusals, text+"; that is as it runs now: once the files have the mend, release "+alone+", then the rest")
	case f.Verdict == gateway.Announced:
		d.plan.Notes = append(d.plan.Notes, text)
	}
	d.plan.Notes = append(d.plan.Notes, f.Notes...)
}

// goesFirst tells whether one of some steps replaces a unit of a gateway, or hands it other
// files where its configuration is what is wrong with it.
func goesFirst(u stack.Unit, f gateway.Finding, before []plan.Step) bool {
	return slices.ContainsFunc(before, func(s plan.Step) bool {
		return s.Service == u.Service && (slices.Contains(s.Old, u.ID) || s.Action == plan.Reload && f.Configured())
	})
}

// asking bounds what registries are asked before a plan: without an answer the plan
// only does not say how much is pulled.
const asking = 4 * time.Second

// weigh tells what is pulled and how much room there is for it.
func (d *transition) weigh(ctx context.Context, info engine.Info, h *onhost.Facts) error {
	absent := d.absent()
	if len(absent) == 0 {
		return nil
	}
	var err error
	if d.plan.Pulls, err = d.pulls(ctx, info, absent); err != nil {
		return err
	}
	dir, sure := imagesIn(ctx, info, d.Files)
	free, inodes, err := d.Files.Free(ctx, dir)
	if err != nil {
		// The user may not be allowed to look below the engine's folder; the pull
		// itself then is the check.
		d.Say(event.Debug, "preflight", "", "free space of %s is not known: %v", dir, err)
		return nil
	}
	h.Disk = &onhost.Space{Dir: dir, Free: free, Inodes: inodes, Guessed: !sure}
	for _, p := range d.plan.Pulls {
		h.Disk.Needs += p.Bytes
	}
	return nil
}

// hostFiles is what is asked of the host's files.
type hostFiles interface {
	Exists(ctx context.Context, name string) (bool, error)
	Read(ctx context.Context, name string) ([]byte, error)
}

// rootLine is the line of containerd's configuration that gives it another folder.
var rootLine = regexp.MustCompile(`^root\s*=\s*["']([^"']+)["']`)

// containerdRoot reads the folder that containerd was given, "" for its packages' own. A
// key of that name in one of the tables, which come last, is another's.
func containerdRoot(config []byte) string {
	for line := range strings.Lines(string(config)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			break
		}
		if root := rootLine.FindStringSubmatch(line); root != nil {
			return root[1]
		}
	}
	return ""
}

// imagesIn is the folder on the host whose disk takes what is pulled, and whether that is
// sure. A containerd of the machine may have been given another than its packages do; the
// one that it had before is often left over. Where its configuration is not to be read, or
// names no folder that is there, nobody tells.
func imagesIn(ctx context.Context, info engine.Info, files hostFiles) (dir string, sure bool) {
	dir, sure = info.ImageDir, true
	if dir == info.RootDir {
		return dir, true
	}
	text, err := files.Read(ctx, "/etc/containerd/config.toml")
	switch root := containerdRoot(text); {
	case root != "":
		dir = root
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		sure = info.RootDir == "/var/lib/docker" // who moved one folder moved the other
	}
	if there, err := files.Exists(ctx, dir); err == nil && there {
		return dir, sure
	}
	return info.RootDir, false
}

// pulls asks the registries how much of each image the host lacks.
func (d *transition) pulls(ctx context.Context, info engine.Info, absent []wanted) ([]plan.Pull, error) {
	var running []string
	for _, units := range d.facts.observed.Units {
		for _, u := range units {
			running = append(running, u.ImageID)
		}
	}
	slices.Sort(running)
	have, err := d.Engine.Layers(ctx, slices.Compact(running))
	if err != nil {
		return nil, err
	}
	login := d.opts.Registry
	ask := layers.New(d.Host.DialTCP, login.Domain(), login.Username, login.Password)
	limited, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	out := make([]plan.Pull, len(absent))
	var eg errgroup.Group
	eg.SetLimit(pulls)
	for i, img := range absent {
		eg.Go(func() error {
			out[i] = plan.Pull{Service: img.service, Image: img.Pinned}
			platform, err := v1.ParsePlatform(cmp.Or(img.platform, strings.Trim(info.OS+"/"+info.Arch+"/"+info.Variant, "/")))
			if err == nil {
				out[i].Bytes, err = ask.Missing(limited, img.Pinned, *platform, have)
			}
			if err != nil {
				d.Say(event.Debug, "preflight", img.service, "how much is pulled is not known: %v", err)
			}
			return nil
		})
	}
	return out, eg.Wait()
}

// databases looks at those that a migration needs: that they answer, and that there
// is room for their dumps on the nodes that they run on. A node that cannot be reached
// is an error: no backup could be taken there.
func (d *transition) databases(ctx context.Context, h *onhost.Facts) error {
	h.Unready = map[string]string{}
	nodes, dumped := map[string]*target.Node{}, map[string][]backup.Source{}
	for _, name := range d.plan.Backups {
		for _, u := range d.facts.observed.Units[name] {
			if u.OneOff || !u.Serving() {
				continue
			}
			n, err := d.on.At(ctx, u.ID)
			if err != nil {
				return err
			}
			nodes[n.ID] = n
			dumped[n.ID] = append(dumped[n.ID], backup.Source{Service: name, Unit: u, Options: *d.opts.Stack.Services[name].Ext.Backups})
			said, _, exit, err := d.SteadyOn(n).Exec(ctx, u.ID, []string{"sh", "-c", ready}, nil)
			if err == nil && exit != 0 && exit != notFound {
				h.Unready[name] = strings.Join(strings.Fields(said), " ")
			}
		}
	}
	h.Remapped = d.remapped(ctx, nodes)
	for _, id := range slices.Sorted(maps.Keys(nodes)) {
		if space := d.roomOn(ctx, nodes[id], dumped[id]); space != nil {
			h.Backups = append(h.Backups, *space)
		}
	}
	return nil
}

// remapped names the nodes that no dump can be written on: their engines give containers
// other users than the folder's.
func (d *transition) remapped(ctx context.Context, nodes map[string]*target.Node) []string {
	var out []string
	for _, id := range slices.Sorted(maps.Keys(nodes)) {
		info, err := nodes[id].Engine.Info(ctx)
		if err != nil {
			d.Say(event.Debug, "preflight", "", "whether %s remaps users is not known: %v", nodes[id], err)
		}
		if info.Remapped {
			out = append(out, nodes[id].String())
		}
	}
	return out
}

// roomOn is the room on a node for dumps of databases, nil where it is not known.
func (d *transition) roomOn(ctx context.Context, n *target.Node, of []backup.Source) *onhost.Space {
	store, err := d.Backups(ctx, n, d.opts.Stack.Name)
	var files *host.Files
	if err == nil {
		files, err = n.Host.Files(ctx)
	}
	var free uint64
	if err == nil {
		free, _, err = files.Free(ctx, store.Dir)
	}
	if err != nil {
		d.Say(event.Debug, "preflight", "", "free space for backups on %s is not known: %v", n, err)
		return nil
	}
	space := &onhost.Space{On: n.String(), Dir: store.Dir, Free: free}
	d.dumps(ctx, store, of, space)
	return space
}

// dumps tells how large dumps will be: as the last one of each database was, and of
// one that has none how large it is itself.
func (d *transition) dumps(ctx context.Context, store *backup.Store, of []backup.Source, space *onhost.Space) {
	all, err := store.List(ctx)
	if err != nil {
		d.Say(event.Debug, "preflight", "", "how large dumps are is not known: %v", err)
		return
	}
	for i, db := range of {
		if slices.ContainsFunc(of[:i], func(other backup.Source) bool { return other.Service == db.Service }) {
			continue // one dump is made of all its units
		}
		if last := slices.IndexFunc(all, func(b backup.Backup) bool { return b.Service == db.Service }); last >= 0 {
			space.Needs += all[last].Bytes
			continue
		}
		room, err := store.Room(ctx, db)
		if err != nil {
			d.Say(event.Debug, "preflight", db.Service, "how large its dump gets is not known: %v", err)
		}
		space.Undumped += room.Size
	}
}

// ready asks a database in its own unit, by its socket or else by its address.
const ready = "pg_isready -t 3 || pg_isready -h 127.0.0.1 -t 3"

// notFound is how a command ends that is not in an image.
const notFound = 127

// try has the programs of the pulled images read what they are about to get. Nothing
// has changed yet, so what they refuse costs nobody anything.
func (d *transition) try(ctx context.Context) error {
	if d.opts.Untried || d.opts.Back != nil || !d.on.HoldsImages() {
		return nil
	}
	ended := d.timed("try")
	results, err := image.Look(ctx, d.opts.Stack, d.plan, image.Host{Runner: d.Engine, Kept: d.Store(d.opts.Stack.Name).Kept})
	if err != nil {
		return err
	}
	if len(results) > 0 {
		ended()
	}
	d.found(results)
	for _, r := range results {
		where := r.Name
		if r.File != "" {
			where += strings.TrimSuffix(fmt.Sprintf(" %s:%d", r.File, r.Line), ":0")
		}
		switch {
		case r.Outcome == check.Fail && !d.opts.Lenient:
			return fault.New(fault.Refused, where, r.Hint, "%s", r.Found)
		case r.Outcome == check.Fail, r.Outcome == check.Warn:
			d.Say(event.Warning, "preflight", r.Where, "%s: %s; mend: %s", where, r.Found, r.Hint)
		default:
			d.Say(event.Info, "preflight", r.Where, "%s", r.Found)
		}
	}
	return nil
}

// pulls is how many images are pulled at once.
const pulls = 3

// fetch brings files and images to the host. Nothing that serves changes here.
func (d *transition) fetch(ctx context.Context) error {
	if n := len(d.facts.missing); n > 0 {
		what := "files and folders"
		if n == 1 {
			what = "file or folder"
		}
		d.Say(event.Info, "upload", "", "uploading %d %s", n, what)
		if err := d.Store(d.opts.Stack.Name).Upload(ctx, d.facts.missing); err != nil {
			return err
		}
	}
	defer d.timed("pull")()
	eg, pulling := errgroup.WithContext(ctx)
	eg.SetLimit(pulls)
	for _, img := range d.absent() {
		eg.Go(func() error {
			d.Say(event.Info, "pull", img.service, "pulling %s", img.Pinned)
			err := d.Engine.Pull(pulling, img.Pinned, img.platform, d.opts.Registry)
			if err != nil || !d.on.HoldsImages() {
				return err
			}
			// What has no tag is pruned by whoever prunes while the others are pulled.
			return d.Engine.Tag(pulling, img.Pinned, releaseTag(d.record.Project, img.service, d.record.Number))
		})
	}
	if err := eg.Wait(); err != nil {
		return err
	}
	return d.tag(ctx)
}

// wanted is an image that the host lacks, with a service that needs it.
type wanted struct {
	engine.Image
	service, platform string
}

// neededHere tells whether a service's image has to be on the host: because its units are
// made there, or because its migration runs there.
func (d *transition) neededHere(name string) bool {
	return d.on.HoldsImages() || slices.Contains(d.migrating(), name)
}

// absent lists the images to pull, each once, in the stack's order.
func (d *transition) absent() []wanted {
	var out []wanted
	for _, name := range d.opts.Stack.Order {
		img, svc := d.facts.images[name], d.opts.Stack.Services[name]
		known := slices.ContainsFunc(out, func(w wanted) bool { return w.Pinned == img.Pinned && w.platform == svc.Platform })
		if d.plan.Step(name) != nil && !img.Present && !known && d.neededHere(name) {
			out = append(out, wanted{Image: img, service: name, platform: svc.Platform})
		}
	}
	return out
}
