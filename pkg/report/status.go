package report

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Status is what runs on a host now.
type Status struct {
	Project string `json:"project"`
	Host    string `json:"host"`
	// Release is the last verified one, nil when none was yet.
	Release *Past `json:"release"`
	// Newest is the newest of all where it is not that one.
	Newest *Past `json:"newest,omitempty"`
	// Unfinished is the newest since then that left something to heal, where that is not
	// Newest.
	Unfinished *Past `json:"unfinished,omitempty"`
	// Newer says what a newer version of shiksha wrote, "" for nothing: the three above are of
	// what this one can read.
	Newer    string    `json:"newer,omitempty"`
	Lock     *Lock     `json:"lock,omitempty"`
	Services []Running `json:"services"`
	// Notes tell what differs from the release, or that one runs at the moment (Remarks).
	Notes []string `json:"notes,omitempty"`
}

// Lock is who holds a project's lock at the moment. Held is nil where the host does not
// tell, and Why says why.
type Lock struct {
	Held   *bool     `json:"held"`
	Actor  string    `json:"actor,omitempty"`
	RunURL string    `json:"run_url,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	Why    string    `json:"why,omitempty"`
	// Holder is those three in words.
	Holder string `json:"-"`
}

func (l *Lock) held() bool { return l != nil && l.Held != nil && *l.Held }

// Running is one service on the host.
type Running struct {
	Service string `json:"service"`
	// Serving of Wanted units run and are not known to be ill, or are of a job that
	// ended well.
	Serving int    `json:"serving"`
	Wanted  int    `json:"wanted"`
	State   string `json:"state"`
	// Restarts is how often its units were started again since they were made.
	Restarts int    `json:"restarts"`
	Image    string `json:"image"`
	// Since is when one of its units that run was started last.
	Since time.Time `json:"since"`
}

// History lists what was released on a host, the newest first.
type History struct {
	Project  string `json:"project"`
	Host     string `json:"host"`
	Lock     *Lock  `json:"lock,omitempty"`
	Releases []Past `json:"releases"`
	// Unsettled is set where a release after the last verified one is under way, was cut
	// off or is stuck, or is one of Newer: what serves may be of either.
	Unsettled bool `json:"unsettled,omitempty"`
	// Newer says what a newer version of shiksha wrote, "" for nothing: it is not among Releases.
	Newer string `json:"newer,omitempty"`
}

// Past is one release of the ledger.
type Past struct {
	Number  int    `json:"release"`
	Version string `json:"version,omitempty"`
	Commit  string `json:"commit,omitempty"`
	Actor   string `json:"actor,omitempty"`
	RunURL  string `json:"run_url,omitempty"`
	Outcome string `json:"outcome"`
	// Standing says of one that has recorded no end whether its run is at it: "under
	// way", "cut off" or "unknown".
	Standing string `json:"standing,omitempty"`
	// Refused is set where the version was refused and what was changed is not all taken
	// back: to run the same again is to try what was just refused.
	Refused bool `json:"refused,omitempty"`
	// Migrated is set of the release that serves where later ones migrated its database: it
	// served with that schema, and a rollback to it may have to be told so. Lost is set of that
	// release where it cannot be brought back: nobody is sent to it.
	Migrated bool `json:"-"`
	Lost     bool `json:"-"`
	// RestoredDatabase is set where it was to bring a database back to a backup.
	RestoredDatabase bool `json:"-"`
	// RollsBack is the release that this one undid, Restores the one that it
	// brought back; 0 for none. Reason is why.
	RollsBack int       `json:"rolls_back,omitempty"`
	Restores  int       `json:"restores,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	Started   time.Time `json:"started"`
	Seconds   float64   `json:"seconds"`
	Changed   []string  `json:"changed_services,omitempty"`
	// Serves is set for the release that serves now, in an unsettled history the one
	// that was verified last.
	Serves bool `json:"serves"`
	// Failure is why it did not become the release that serves, "" when it did.
	Failure string `json:"failure,omitempty"`
	// Lacks is what a rollback to it would lack, "" for nothing.
	Lacks string `json:"lacks,omitempty"`
}

// JSON gives the status as one line of JSON.
func (s *Status) JSON() ([]byte, error) { return json.Marshal(s) }

// JSON gives the history as one line of JSON.
func (h *History) JSON() ([]byte, error) { return json.Marshal(h) }

// refusedAgain begins what to do about a release whose version was refused.
const refusedAgain = "the same again would be refused again: "

// mend is what to do about a release that did not end, back the one to go back to, nil for
// none. It is named: where all of it runs still, a rollback that names none goes further.
// A rollback that did not end undoes what was verified, so nobody goes back to that, unless
// what it went to was refused.
func (r *Past) mend(back *Past) string {
	const again = "run the same again, it heals what is half done"
	if back != nil && back.Lost {
		back = nil
	}
	switch {
	case r.Refused && back == nil:
		return refusedAgain + "release a version that works"
	case r.Refused:
		return fmt.Sprintf("%sgo back: %s, or release a version that works", refusedAgain, back.command())
	}
	if back == nil || r.Restores > 0 {
		return again
	}
	return fmt.Sprintf("%s, or go back: %s", again, back.command())
}

// command goes back to a release that serves, or did. Whether its code says itself which schema it
// can read is not known here: where it does it is to be asked.
func (r *Past) command() string {
	text := fmt.Sprintf("shiksha rollback --release %d", r.Number)
	if r.Migrated {
		text += " (with --accept-schema where it has no x-shiksha.migrate.compatible: it served with this schema already)"
	}
	return text
}

// notJudged follows what a newer version of shiksha wrote.
const notJudged = ", and is not judged here: look with that version, or a newer one"

// Remarks say how the newest release stands where it is not the one that was verified last,
// with what to do about it, and who holds the lock.
func (s *Status) Remarks() (all []string) {
	switch {
	case s.Newer != "":
		all = append(all, s.Newer+notJudged)
	case s.Newest != nil:
		all = append(all, s.Newest.remark(s.Lock, s.Release))
	}
	switch u := s.Unfinished; {
	case u == nil || s.Newer != "": // what was done since decides what to do about it
	case s.Newest.Outcome == "refused":
		all = append(all, u.remark(s.Lock, s.Release))
	default:
		// What was done since decides what to do now: a rollback may undo another.
		all = append(all, "before that, "+u.label()+" ended as "+u.Outcome+u.reason())
	}
	if s.Lock.held() && (s.Newest == nil || s.Newer != "" || s.Newest.Outcome != "started") {
		all = append(all, "the lock is held by "+s.Lock.Holder+": a run is under way")
	}
	return all
}

func (r *Past) remark(lock *Lock, back *Past) string {
	reason := r.reason()
	switch r.Outcome {
	case "started":
		return r.label() + " " + r.unended(lock, back)
	case "interrupted":
		return r.label() + " was interrupted" + reason + "; " + r.mend(back)
	case "stuck":
		if r.RestoredDatabase { // perhaps it is the older one still
			return r.label() + " is stuck" + reason + "; see that the database runs (start that by hand if it does not), then run the same rollback again, " +
				"or release a version that works; start nothing else by hand: its code may be newer than the database"
		}
		return r.label() + " is stuck" + reason + "; release a version that works, or start the services by hand"
	case "refused":
		return r.label() + " was refused" + reason
	}
	return r.label() + " " + r.Outcome + reason
}

func (r *Past) reason() string {
	if first, _, _ := strings.Cut(r.Failure, "\n"); first != "" {
		return ": " + shorten(first, 200)
	}
	return ""
}

// unended says what is known of a release that has recorded no end.
func (r *Past) unended(lock *Lock, back *Past) string {
	by := dash(r.Actor)
	if r.RunURL != "" {
		by += " (" + r.RunURL + ")"
	}
	switch {
	case r.Standing == "under way":
		return "is under way: " + lock.Holder
	case r.Standing == "cut off" && lock.held():
		return "was cut off; the lock is held by " + lock.Holder + ": look again when that run has ended"
	case r.Standing == "cut off":
		return "was cut off, no run holds the lock any more: " + r.mend(back)
	case lock.held():
		return "has recorded no end, it was started by " + by + "; the lock is held by " + lock.Holder
	}
	return "has recorded no end, it was started by " + by + "; whether a run is still at it cannot be seen: " + lock.reason()
}

func (l *Lock) reason() string {
	if l == nil {
		return "nobody looked"
	}
	return l.Why
}

// Text gives the status as a table; ages are counted back from now.
func (s *Status) Text(now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s on %s\n", clean(s.Project), clean(s.Host))
	switch r := s.Release; {
	case r == nil && s.Newer == "":
		b.WriteString("nothing was released here yet\n")
	case r != nil:
		fmt.Fprintf(&b, "%s: %s, %s UTC (%s ago)", r.label(), clean(r.Outcome), moment(r.Started), age(now, r.Started))
		if r.Actor != "" {
			fmt.Fprintf(&b, ", by %s", clean(r.Actor))
		}
		b.WriteString("\n")
	}
	if len(s.Services) > 0 {
		b.WriteString("\n")
		table(&b, []string{"SERVICE", "UNITS", "STATE", "UP", "IMAGE"}, len(s.Services), func(i int) []string {
			v := s.Services[i]
			return []string{v.Service, fmt.Sprintf("%d/%d", v.Serving, v.Wanted), v.State, age(now, v.Since), v.Image}
		})
	}
	for _, n := range s.Notes {
		fmt.Fprintf(&b, "\nnote: %s", clean(n))
	}
	if len(s.Notes) > 0 {
		b.WriteString("\n")
	}
	return b.String()
}

// Text gives the history as a table; the release that serves has a star.
func (h *History) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s on %s\n", clean(h.Project), clean(h.Host))
	switch {
	case len(h.Releases) > 0:
	case h.Newer != "":
		return b.String() + clean(h.Newer) + notJudged + "\n"
	default:
		return b.String() + "nothing was released here yet\n"
	}
	b.WriteString("\n")
	head := []string{"  RELEASE", "VERSION", "OUTCOME", "STARTED (UTC)", "TOOK", "BY", "CHANGED"}
	table(&b, head, len(h.Releases), func(i int) []string {
		r := h.Releases[i]
		mark := "  "
		if r.Serves {
			mark = "* "
		}
		changed := strings.Join(r.Changed, ", ")
		if r.Restores > 0 {
			changed = strings.TrimSuffix(fmt.Sprintf("back to %d: %s", r.Restores, changed), ": ")
		}
		return []string{mark + fmt.Sprint(r.Number), r.Version, r.ended(), moment(r.Started), seconds(r.Seconds), r.Actor, changed}
	})
	legend := "serves now"
	switch {
	case h.Newer != "":
		legend = "last verified that can be read; " + clean(h.Newer) + notJudged
	case h.Unsettled:
		legend = "last verified; a later one is under way, was cut off or is stuck, see: shiksha status"
	}
	fmt.Fprintf(&b, "\n* %s\n", legend)
	// What was done since decides what to do now, but for what was refused at once.
	last := slices.IndexFunc(h.Releases, func(r Past) bool { return r.Outcome != "refused" })
	for i, r := range h.Releases {
		if r.Reason != "" {
			fmt.Fprintf(&b, "  %s went back because: %s\n", r.label(), clean(r.Reason))
		}
		if first, _, _ := strings.Cut(r.Failure, "\n"); first != "" {
			fmt.Fprintf(&b, "  %s %s: %s\n", r.label(), clean(r.Outcome), clean(shorten(first, 200)))
		}
		if r.Standing == "cut off" {
			fmt.Fprintf(&b, "  %s %s\n", r.label(), clean(r.unended(h.Lock, h.verified())))
		}
		if r.Refused && i == last {
			fmt.Fprintf(&b, "  %s: %s\n", r.label(), clean(r.mend(h.verified())))
		}
		if r.Lacks != "" {
			fmt.Fprintf(&b, "! %s: %s\n", r.label(), clean(r.Lacks))
		}
	}
	return b.String()
}

// verified is the last verified release, nil for none.
func (h *History) verified() *Past {
	if i := slices.IndexFunc(h.Releases, func(r Past) bool { return r.Serves }); i >= 0 {
		return &h.Releases[i]
	}
	return nil
}

// ended is a word for how a release ended, or for whether a run is at it where that is known.
func (r *Past) ended() string {
	if r.Standing == "under way" || r.Standing == "cut off" {
		return r.Standing
	}
	return r.Outcome
}

func (r *Past) label() string {
	if r.Version == "" {
		return fmt.Sprintf("release %d", r.Number)
	}
	return fmt.Sprintf("release %d (%s)", r.Number, clean(r.Version))
}

// Backups lists the dumps of a project's databases, the newest first.
type Backups struct {
	Project, Host string
	Backups       []Backup
}

// Backup is one of them. Lost says why it cannot be used, "" when it can.
type Backup struct {
	ID, Database string
	// Node is which node of a Swarm has it, "" for the host that was asked.
	Node          string
	Taken, Proven time.Time
	Bytes, Rows   int64
	Release       int
	Version, Lost string
	// Copied is where a copy of it is; Away is set where only that is left.
	Copied string
	Away   bool
}

// Text gives the backups as a table.
func (b *Backups) Text() string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s on %s\n", clean(b.Project), clean(b.Host))
	if len(b.Backups) == 0 {
		out.WriteString("there is no backup here\n")
		return out.String()
	}
	out.WriteString("\n")
	heads := []string{"BACKUP", "DATABASE", "TAKEN (UTC)", "SIZE", "ROWS", "RELEASE", "STATE", "COPY"}
	apart := slices.ContainsFunc(b.Backups, func(v Backup) bool { return v.Node != "" })
	if apart {
		heads = append(heads, "NODE")
	}
	table(&out, heads, len(b.Backups), func(i int) []string {
		v := b.Backups[i]
		of := ""
		if v.Release > 0 {
			of = strings.TrimSpace(fmt.Sprintf("%d %s", v.Release, v.Version))
		}
		state := "read back whole"
		if !v.Proven.IsZero() {
			state = "proven " + moment(v.Proven)
		}
		if v.Lost != "" {
			state = "LOST: " + v.Lost
		}
		if v.Away {
			state = "only the copy is left"
		}
		cells := []string{v.ID, v.Database, moment(v.Taken), fmt.Sprintf("%.1f MB", float64(v.Bytes)/1e6), number(int(v.Rows)), of, state, v.Copied}
		if apart {
			cells = append(cells, v.Node)
		}
		return cells
	})
	return out.String()
}
