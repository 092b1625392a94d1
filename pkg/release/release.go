// Package release keeps what a host remembers of a project: the ledger of its
// releases, chained so that a damaged or edited record is noticed, and the lock
// with its fencing number, which lets one run at a time change the project. It
// works over a few file operations and one long-lived process on the host, so
// nothing has to be installed there.
package release

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
)

// Reader reads the host's files. A missing file or directory gives an error
// that is fs.ErrNotExist.
type Reader interface {
	Read(ctx context.Context, path string) ([]byte, error)
	List(ctx context.Context, dir string) ([]fs.FileInfo, error)
}

// Writer changes the host's files. Write replaces a file as a whole or not at
// all: a temporary file in the same directory, flushed to the disk, then renamed.
type Writer interface {
	Write(ctx context.Context, path string, data []byte, perm fs.FileMode) error
	MkdirAll(ctx context.Context, path string, perm fs.FileMode) error
	Remove(ctx context.Context, path string) error
}

// Files are the host's files. They may be used by several goroutines at once.
type Files interface {
	Reader
	Writer
}

// Outcome says how a release ended, or that it has not.
type Outcome string

// The outcomes. A record is Started from before the first change until its run
// has written how it ended; a Started record without a run is an interrupted one.
const (
	Started     Outcome = "started"
	Verified    Outcome = "verified"
	Failed      Outcome = "failed"
	Refused     Outcome = "refused" // ended before anything that serves was changed
	Interrupted Outcome = "interrupted"
	Stuck       Outcome = "stuck"
)

func (o Outcome) known() bool {
	switch o {
	case Started, Verified, Failed, Refused, Interrupted, Stuck:
		return true
	}
	return false
}

// Clean tells whether a release came to an end that leaves nothing to heal.
func (o Outcome) Clean() bool { return o == Verified || o == Failed || o == Refused }

// Schema is the version of the record's and the chain's format that this program writes.
// It is raised with every field and outcome added, so that an older program says it cannot
// read a record rather than calling it damaged.
const Schema = 5

// Record is one release as the host remembers it (releases/<number>.json). What
// is above the second gap is fixed once it was appended; the rest may be
// updated for as long as the record is the newest.
type Record struct {
	Schema  int    `json:"schema"`
	Number  int    `json:"number"`
	Project string `json:"project"`
	// Version, Commit, Actor and RunURL say what was released by whom.
	Version string `json:"version,omitempty"`
	Commit  string `json:"commit,omitempty"`
	Actor   string `json:"actor,omitempty"`
	RunURL  string `json:"run_url,omitempty"`
	// Fence is the fencing number of the lock that the run held.
	Fence   int64     `json:"fence,omitempty"`
	Started time.Time `json:"started,omitzero"`
	// Previous is the release that served before, RollsBack the one this
	// release undoes and Restores the one whose stack it brought back; 0 is none.
	Previous  int `json:"previous,omitempty"`
	RollsBack int `json:"rolls_back,omitempty"`
	Restores  int `json:"restores,omitempty"`
	// RestoresDatabase is the backup that the database was brought back to.
	RestoresDatabase string `json:"restores_database,omitempty"`
	// Reason is why somebody went back, in their words.
	Reason string `json:"reason,omitempty"`
	// Services is what was to run; Model is the redacted Compose model.
	Services map[string]ServiceRecord `json:"services,omitempty"`
	Model    json.RawMessage          `json:"model,omitempty"`
	// Follows is the record that PrevSum is the sum of. It is not Number-1
	// where Breaks says that the records between were damaged.
	Follows int      `json:"follows,omitempty"`
	PrevSum string   `json:"prev_sum,omitempty"`
	Breaks  []Damage `json:"breaks,omitempty"`

	// StartSum is over everything above, Sum over the whole record.
	StartSum string          `json:"start_sum"`
	Ended    time.Time       `json:"ended,omitzero"`
	Outcome  Outcome         `json:"outcome"`
	Message  string          `json:"message,omitempty"`
	Steps    []Step          `json:"steps,omitempty"`
	Probe    json.RawMessage `json:"probe,omitempty"`
	Checks   json.RawMessage `json:"checks,omitempty"`
	// Backups are the databases' dumps from before the migrations.
	Backups    []string    `json:"backups,omitempty"`
	Migrations []Migration `json:"migrations,omitempty"`
	Sum        string      `json:"sum"`
}

// ChangedNothing tells whether a release ended before anything was changed. Records of
// schema 2 and before call one that was refused failed.
func (r Record) ChangedNothing() bool {
	return r.Outcome == Refused ||
		r.Outcome == Failed && len(r.Steps) == 0 && len(r.Migrations) == 0 && r.RestoresDatabase == ""
}

// Names tells whether a release has a service.
func (r Record) Names(service string) bool {
	_, named := r.Services[service]
	return named
}

// Made tells whether units of a service may be of this release: one that was verified had
// all that it names, one that failed what its steps came to, and of one that was cut off
// only what it was to do is known.
func (r Record) Made(service string) bool {
	switch {
	case !r.Names(service) || r.ChangedNothing():
		return false
	case r.Outcome == Failed, r.Outcome == Stuck:
		return slices.ContainsFunc(r.Steps, func(s Step) bool { return s.Service == service })
	}
	return r.Outcome == Verified || !r.Services[service].Stays()
}

// MayHave tells whether a run carried out a step of a service, or may have: one that was
// killed wrote none down. One whose migration did not succeed came to none.
func (r Record) MayHave(step, service string) bool {
	if len(r.Steps) == 0 || len(r.Steps) == 1 && r.TurnedDown() {
		return !slices.ContainsFunc(r.Migrations, func(m Migration) bool { return m.Exit != 0 })
	}
	return slices.ContainsFunc(r.Steps, func(s Step) bool { return s.Name == step && s.Service == service })
}

// Jobs are the services that others wait for to end with 0: they run once.
func (r Record) Jobs() map[string]bool {
	var model struct {
		Services map[string]struct {
			DependsOn map[string]struct{ Condition string } `json:"depends_on"`
		}
	}
	_ = json.Unmarshal(r.Model, &model) // one that cannot be read names none of those
	once := map[string]bool{}
	for _, svc := range model.Services {
		for name, d := range svc.DependsOn {
			once[name] = once[name] || d.Condition == string(stack.Completed)
		}
	}
	return once
}

// Sharing are the services that use the namespaces or volumes of another: the hash of their
// units is of the container they share with, which was not made when this was written.
func (r Record) Sharing() map[string]bool {
	var model struct {
		Services map[string]struct {
			NetworkMode string `json:"network_mode"`
			IPC, PID    string
			VolumesFrom []string `json:"volumes_from"`
		}
	}
	_ = json.Unmarshal(r.Model, &model) // one that cannot be read names none of those
	sharing := map[string]bool{}
	for name, svc := range model.Services {
		shares := stack.SharesOf(types.ContainerSpec{NetworkMode: svc.NetworkMode, Ipc: svc.IPC, Pid: svc.PID, VolumesFrom: svc.VolumesFrom})
		sharing[name] = slices.ContainsFunc(shares, func(s stack.Share) bool { return s.Service != "" })
	}
	return sharing
}

// WayBack names the step, without a time, that says of an interrupted release that its version
// was refused and that what was changed is not all taken back. It is a step and no field of the
// record, so that an older program reads it and calls no record damaged.
const WayBack = "way back"

// TurnedDown tells whether the version of a release was refused and the way back from it is not
// finished: to run the same again is to try what was just refused.
func (r Record) TurnedDown() bool {
	return r.Outcome == Interrupted && slices.ContainsFunc(r.Steps, func(s Step) bool { return s.Name == WayBack })
}

// ServiceRecord is one service of a release. Environment has keyed hashes of
// the values (Ledger.Key), Files the sum of each mounted file by its target in
// the container, Action what the release did with the service. Resolved is set where Pinned is
// what Image meant: not for an image that was given beside the file, which another tag of the
// same repository may be, nor in records from before schema 5.
type ServiceRecord struct {
	Image       string            `json:"image,omitempty"`
	Pinned      string            `json:"pinned,omitempty"`
	Resolved    bool              `json:"resolved,omitempty"`
	Hash        string            `json:"hash,omitempty"`
	Replicas    int               `json:"replicas"`
	Environment map[string]string `json:"environment,omitempty"`
	Files       map[string]string `json:"files,omitempty"`
	Action      string            `json:"action,omitempty"`
}

// Stays tells whether a release was to do nothing with a service: the actions that pkg/plan calls
// Unchanged and Keep. They are spelled here since records are read by who knows no plans.
func (s ServiceRecord) Stays() bool { return s.Action == "unchanged" || s.Action == "keep" }

// Step is one step of a release and when it ran.
type Step struct {
	Name    string    `json:"name"`
	Service string    `json:"service,omitempty"`
	Started time.Time `json:"started,omitzero"`
	Ended   time.Time `json:"ended,omitzero"`
}

// Migration is what a release did to a database's schema. Before and After are the
// revisions, "" where nobody said; Exit is -1 for one that has not ended by itself. A
// revision is the last line of what was said, its sum is over all of it: some tools say a
// line for each branch or application. Older records have no sums.
type Migration struct {
	Service string    `json:"service"`
	Command []string  `json:"command"`
	Before  string    `json:"before,omitempty"`
	After   string    `json:"after,omitempty"`
	Exit    int       `json:"exit"`
	Output  string    `json:"output,omitempty"`
	Started time.Time `json:"started,omitzero"`
	Ended   time.Time `json:"ended,omitzero"`

	BeforeSum string `json:"before_sum,omitempty"`
	AfterSum  string `json:"after_sum,omitempty"`
}

// Revision is how a revision is told: nobody may have said it.
func Revision(said string) string { return cmp.Or(said, "unknown") }

// Nothing tells whether a migration is known to have left the database as it found it.
func (m Migration) Nothing() bool { return sameRevision(m.Before, m.BeforeSum, m.After, m.AfterSum) }

// BroughtBack tells whether a release brought a database back to a backup, or may have: one
// that failed has swapped it back, of one that was cut off nobody knows.
func (r Record) BroughtBack() bool {
	return r.RestoresDatabase != "" && r.Outcome != Failed && r.Outcome != Refused
}

// MigratedSince tells whether releases after one may have migrated a database with which that
// one served meanwhile. False where one of them may have brought it back to a backup.
func MigratedSince(all []Record, number int) (migrated bool) {
	for _, r := range all {
		if r.Number <= number {
			continue
		}
		if r.BroughtBack() {
			return false
		}
		migrated = migrated || slices.ContainsFunc(r.Migrations, func(m Migration) bool { return !m.Nothing() })
	}
	return migrated
}

// FoundAs tells whether a later migration is known to have found the database as this one
// did.
func (m Migration) FoundAs(later Migration) bool {
	return sameRevision(m.Before, m.BeforeSum, later.Before, later.BeforeSum)
}

// sameRevision compares by sums where both have one.
func sameRevision(a, aSum, b, bSum string) bool {
	return a != "" && a == b && (aSum == bSum || aSum == "" || bSum == "")
}

// DefaultStateDir is where a host keeps the state of its projects.
const DefaultStateDir = "/var/lib/shiksha"

// CheckStateDir refuses what is no folder for state on the host; "" is the default.
func CheckStateDir(dir string) error {
	if dir == "" || path.IsAbs(dir) {
		return nil
	}
	return fault.New(fault.Input, "state-dir", "give the absolute path of a folder on the host, like "+DefaultStateDir, "%q is not an absolute path", dir)
}

// CheckNamed refuses to look for a project on a host where nobody says which.
func CheckNamed(project string) error {
	if project != "" {
		return nil
	}
	return fault.New(fault.Input, "project", "for example: --project shop", "which project on the host is not said")
}

// Dir is the folder of a project's state on the host. A state directory that is
// not absolute or a name that Compose would not take is a fault.Input.
func Dir(stateDir, project string) (string, error) {
	if !path.IsAbs(stateDir) {
		return "", fault.New(fault.Input, "state-dir", "give an absolute path, for example "+DefaultStateDir,
			"%q is not an absolute path on the host", stateDir)
	}
	if !stack.ValidProject(project) {
		return "", fault.New(fault.Input, "project", "use lower case letters, digits, - and _, beginning with a letter or digit",
			"%q is not a Compose project name", project)
	}
	return path.Join(stateDir, project), nil
}

// stateFault gives an error of the host's files its meaning: what the user may
// not write is refused, the rest keeps its kind and hint.
func stateFault(err error, doing string) error {
	if errors.Is(err, fs.ErrPermission) {
		return fault.New(fault.Refused, "state-dir",
			"let the deploying user own all of it (sudo install -d -m 0700 -o USER DIR; sudo chown -R USER DIR), "+
				"or log in as the user that released there before; where nothing was, state-dir may be a folder of theirs",
			"%s: %w", doing, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}
